"""Readers of the files of a grid and its runs, with validation."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pydantic
from chemsplit import Split

from bench.evaluation.intervals import prediction_and_label
from bench.exceptions import BenchError, one_line
from bench.labels import KINDS, LABELS_BY_KIND, TRAINABLE_KINDS
from bench.model.metadata import SAME_COMMAND, ModelMetadata, rerun_remedy
from bench.settings.grid import Grid
from bench.settings.parsing import parse_checked, read_checked, read_text
from bench.settings.schema import read_settings, validate


def _check_errors(errors: dict[str, float | None]) -> dict[str, float | None]:
    for kind, label in LABELS_BY_KIND.items():
        if label.predicted_by != "none" and f"{kind}_mae" not in errors:
            raise ValueError(f"{kind}_mae is missing")
    return errors


_Errors = Annotated[dict[str, float | None], pydantic.AfterValidator(_check_errors)]


class _Parts(pydantic.BaseModel):
    validation: _Errors
    test: _Errors


class _Sizes(pydantic.BaseModel):
    train: int
    validation: int
    test: int


class _Excluded(pydantic.BaseModel):
    structures: int
    new_elements: dict[str, int]


class _Result(ModelMetadata):
    model: str
    parameters: int
    sizes: _Sizes
    excluded: _Excluded
    errors: _Parts
    floors: _Parts


class _Cost(pydantic.BaseModel):
    microseconds_per_atom: float
    mebibytes: float | None = None


class _Epoch(pydantic.BaseModel, extra="allow"):
    epoch: int

    @pydantic.model_validator(mode="after")
    def _check_errors(self) -> "_Epoch":
        for kind in TRAINABLE_KINDS:
            error = (self.model_extra or {}).get(f"validation_{kind}_mae")
            if not isinstance(error, float | int | None):
                raise ValueError(f"validation_{kind}_mae is not a number")
        return self


class _Failure(pydantic.BaseModel):
    reason: str


class _TestIds(pydantic.BaseModel):
    test: list[str]


def read_grid(folder: Path) -> Grid:
    """Reads the grid of a folder of results.

    Args:
        folder: of results, with `config.yaml`.

    Raises:
        BenchError: the file is missing or damaged.
    """
    path = folder / "config.yaml"
    return validate(Grid, read_settings(path), str(path))


def read_result(run: Path) -> dict[str, Any]:
    """Reads the result of a finished run.

    Args:
        run: folder of the run.

    Raises:
        BenchError: the file is missing or damaged.
    """
    return read_checked(run / "result.json", _Result, rerun_remedy(run))


def read_results(folder: str | os.PathLike) -> list[dict[str, Any]]:
    """Reads the results of all finished runs of a grid.

    Args:
        folder: of the grid, with `config.yaml`.

    Returns:
        The content of each run's `result.json`, in the order of the grid: `run`,
        `model`, `sizes` of the sets, `errors` and `floors` of validation and test
        (meV/atom, meV/Å, meV/Å^3, me, me Å), `parameters` and more.

    Raises:
        BenchError: the folder does not belong to a grid, or a file is damaged.

    Examples:
        >>> for result in bench.read_results("runs/mine"):
        ...     print(result["run"]["split"], result["errors"]["test"]["energy_mae"])
    """
    path = Path(folder)
    runs = [path / run.name for run in read_grid(path).runs()]
    return [read_result(run) for run in runs if (run / "result.json").exists()]


def read_cost(run: Path) -> dict[str, float | None]:
    """Reads the cost of the predictions of a run.

    Args:
        run: folder of the run.

    Raises:
        BenchError: the file is missing or damaged.
    """
    return read_checked(run / "cost.json", _Cost, rerun_remedy(run))


def read_failure_reason(run: Path) -> str:
    """Reads why a run failed.

    Args:
        run: folder of the run.

    Raises:
        BenchError: the file is missing or damaged.
    """
    path = run / "failed.json"
    return read_checked(path, _Failure, f"delete it; {SAME_COMMAND}")["reason"]


def read_history(run: Path) -> list[dict[str, Any]]:
    """Reads the metrics of each epoch of a run.

    Args:
        run: folder of the run.

    Raises:
        BenchError: the file is missing or damaged.
    """
    path = run / "metrics.jsonl"
    lines = read_text(path).splitlines()
    if not lines:
        raise BenchError(f"{path} contains no epoch: {rerun_remedy(run)}")
    return [
        parse_checked(line, f"{path}, line {i},", _Epoch, rerun_remedy(run))
        for i, line in enumerate(lines, 1)
    ]


def read_test_ids(run: Path) -> set[str]:
    """Reads the ids of the test structures of a run.

    Args:
        run: folder of the run.

    Raises:
        BenchError: the file is missing or damaged.
    """
    return set(read_checked(run / "split.json", _TestIds, rerun_remedy(run))["test"])


def read_split(run: Path) -> Split:
    """Reads the split of a run.

    Args:
        run: folder of the run.

    Raises:
        BenchError: the file is missing or damaged.
    """
    try:
        return Split.load(run / "split.json")
    except OSError as error:
        raise BenchError(f"{run / 'split.json'}: {error.strerror}.") from error
    except (ValueError, TypeError) as error:
        raise BenchError(f"{one_line(error)} Or {rerun_remedy(run)}") from error


def read_held_out_structures(run: Path) -> list[Any]:
    """Reads the validation and test structures of a run as ASE objects.

    Args:
        run: folder of the run.

    Raises:
        BenchError: the file is missing or damaged.
    """
    return _read_frames(run, _check_structure)


def _read_frames(run: Path, check: Callable[[Any], None]) -> list[Any]:
    import ase.io

    from bench.sources.comment_line import parse_comment

    path = run / "predictions.extxyz"
    try:
        with path.open(encoding="utf-8") as file:
            parse: dict[str, Any] = {"properties_parser": parse_comment}
            frames = list(ase.io.iread(file, format="extxyz", **parse))
        for frame in frames:
            check(frame)
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}.") from error
    except Exception as error:  # ASE readers raise exceptions of any type
        raise BenchError(
            f"{path} is damaged ({type(error).__name__}: {one_line(error)}): "
            f"{rerun_remedy(run)}"
        ) from error
    return frames


def read_test_predictions(run: Path, sizes: dict[str, int], split: Split) -> list[Any]:
    """Reads the predictions for the test set of a run.

    Args:
        run: folder of the run.
        sizes: number of structures in each set, from the result.
        split: of the run.

    Raises:
        BenchError: the file is missing, damaged, or not of this run.
    """
    frames = [
        f for f in _read_frames(run, _check_predictions) if f.info["part"] == "test"
    ]
    ids = {str(f.info["id"]) for f in frames}
    if len(frames) != sizes["test"] or not ids <= set(split.test):
        raise BenchError(
            f"{run / 'predictions.extxyz'} does not contain the structures that the "
            f"run was tested on: {rerun_remedy(run)}"
        )
    return frames


def _check_structure(frame: Any) -> None:
    """Raises an exception if a frame lacks data that a simulation needs."""
    for name in ("id", "group", "part"):
        if name not in frame.info:
            raise ValueError(f"a structure has no {name}")
    numbers = [frame.info["total_charge"], frame.info.get("spin", 0)]
    if not np.isfinite(np.array(numbers, float)).all():
        raise ValueError("a number of a structure is not finite")


def _check_predictions(frame: Any) -> None:
    """Raises an exception if a frame lacks data that a report needs."""
    _check_structure(frame)
    numbers = [frame.info["index"], frame.info.get("floor_energy", 0.0)]
    if not np.isfinite(np.array(numbers, float)).all():
        raise ValueError("a number of a structure is not finite")
    # Written for every structure, with or without a label.
    if "model_charges" not in frame.arrays:
        raise ValueError("a structure has no model_charges")
    for kind in KINDS:
        pair = prediction_and_label(frame, kind)
        if pair is None:
            continue
        prediction, label = (np.asarray(values, float) for values in pair)
        if prediction.shape != label.shape:
            raise ValueError(f"a {kind} prediction has another size than its label")
