"""What `result.json` says about the model of a run."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from bench.settings.architectures import ModelSettings
from bench.settings.grid import Run
from bench.settings.parsing import read_checked

SAME_COMMAND = "the same `bench run` writes it again."
"""Remedy for a damaged file of a run."""


class ModelMetadata(pydantic.BaseModel):
    """The part of `result.json` that describes the model."""

    run: Run
    settings: Annotated[
        dict[str, Any], pydantic.AfterValidator(ModelSettings.model_validate)
    ]
    data: str
    charge_sign: Literal[-1, 1] = 1
    made_from: dict[str, Any] | None = None
    kinds: list[Literal["energy", "force", "stress", "charge", "dipole", "born"]] = []


def read_model_metadata(run: Path) -> tuple[Run, ModelSettings, dict[str, Any]]:
    """What a run trained: the run, its settings, and all that `result.json` says.

    Args:
        run: its folder.

    Raises:
        BenchError: the file is missing or damaged.
    """
    facts = read_checked(run / "result.json", ModelMetadata, rerun_remedy(run))
    return Run(**facts["run"]), ModelSettings(**facts["settings"]), facts


def rerun_remedy(run: Path) -> str:
    """Returns the remedy for a damaged file: the end of an error message.

    Args:
        run: its folder.
    """
    return f"delete the folder {run}; {SAME_COMMAND}"
