"""Metadata of the model of a run in `result.json`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from bench.labels import KINDS
from bench.settings.grid import Run
from bench.settings.parsing import read_checked

SAME_COMMAND = "the same `bench run` writes it again."
"""The end of the error message about a damaged file of a run."""


def _check_kind(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is not one of {', '.join(KINDS)}")
    return kind


class ModelMetadata(pydantic.BaseModel):
    """The part of `result.json` that describes the model."""

    run: Run
    data: str
    charge_sign: Literal[-1, 1] = 1
    made_from: dict[str, Any] | None = None
    kinds: list[Annotated[str, pydantic.AfterValidator(_check_kind)]] = []


def read_model_metadata(run: Path) -> tuple[Run, dict[str, Any]]:
    """Reads the metadata of the model of a run.

    Args:
        run: folder of the run.

    Returns:
        The run, and all values of `result.json`.

    Raises:
        BenchError: the file is missing or damaged.
    """
    metadata = read_checked(run / "result.json", ModelMetadata, rerun_remedy(run))
    return Run(**metadata["run"]), metadata


def rerun_remedy(run: Path) -> str:
    """Returns the end of the error message about a damaged file of a run.

    Args:
        run: folder of the run.
    """
    return f"delete the folder {run}; {SAME_COMMAND}"
