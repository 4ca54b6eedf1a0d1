"""Folders of results, each of which belongs to one set of inputs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.dataset.differences import differences
from bench.dynamics.study.result_files import (
    CHECKPOINT,
    RELAXATION,
    RESULT,
    write_json,
)
from bench.exceptions import BenchError
from bench.settings.parsing import read_object

_REMEDY = "choose another folder with --out, or delete that one"


def has_results(folder: Path) -> bool:
    """Returns whether a folder or one of its subfolders contains results.

    Args:
        folder: folder of a stage, a simulation or a study; may not exist.
    """
    names = (RESULT, CHECKPOINT, RELAXATION)
    return any(True for name in names for _ in folder.rglob(name))


def claim_folder(
    folder: Path, name: str, inputs: Mapping[str, Any], description: str
) -> None:
    """Creates a folder of results, or checks that an existing one has the same inputs.

    Args:
        folder: folder of a simulation or a study; may not exist.
        name: name of the file that stores the inputs.
        inputs: inputs from which the results are computed, as JSON values.
        description: describes the existing results in the message if the inputs
            differ.

    Raises:
        BenchError: the folder contains results of other or unknown inputs, or of an
            older version.
    """
    if has_results(folder):
        _check_inputs(folder, name, inputs, description)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / name, inputs)


def _check_inputs(
    folder: Path, name: str, inputs: Mapping[str, Any], description: str
) -> None:
    path = folder / name
    if not path.exists():
        raise BenchError(
            f"{folder} contains simulations but no {name} with their inputs: {_REMEDY}."
        )
    stored = read_object(path, f"{_REMEDY}.")
    if set(stored) != set(inputs):
        raise BenchError(f"{folder} was made by an older version: {_REMEDY}.")
    if stored != inputs:
        raise BenchError(
            f"{folder} contains {description}, {differences(stored, inputs)}: "
            f"{_REMEDY}."
        )
