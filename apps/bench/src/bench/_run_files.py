"""What a grid and its runs leave in their folders, checked as it is read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from chemsplit import Split

from ._config import Grid, Run, checked_grid
from ._errors import BenchError, in_short
from ._shapes import ModelSettings
from ._statistics import compared
from ._text_files import parse_json, read_text, read_yaml
from ._train_settings import KINDS


class _Errors(pydantic.BaseModel):
    energy_mae: float | None
    force_mae: float | None
    stress_mae: float | None
    charge_mae: float | None
    dipole_mae: float | None
    born_mae: float | None


class _Parts(pydantic.BaseModel):
    validation: _Errors
    test: _Errors


class _Sizes(pydantic.BaseModel):
    train: int
    validation: int
    test: int


class _Excluded(pydantic.BaseModel):
    structures: int
    unseen: dict[str, int]


class _Model(pydantic.BaseModel):
    run: Run
    settings: Annotated[
        dict[str, Any], pydantic.AfterValidator(ModelSettings.model_validate)
    ]
    data: str
    charge_sign: Literal[-1, 1] = 1
    made_from: dict[str, Any] | None = None
    kinds: list[Literal["energy", "force", "stress", "charge", "dipole", "born"]] = []


class _Result(_Model):
    model: str
    parameters: int
    sizes: _Sizes
    excluded: _Excluded
    errors: _Parts
    floors: _Parts


class _Cost(pydantic.BaseModel):
    microseconds_per_atom: float
    mebibytes: float | None = None


class _Epoch(pydantic.BaseModel):
    epoch: int
    validation_energy_mae: float | None = None
    validation_force_mae: float | None = None
    validation_charge_mae: float | None = None


class _Failure(pydantic.BaseModel):
    reason: str


class _TestIds(pydantic.BaseModel):
    test: list[str]


def read_grid(folder: Path) -> Grid:
    """The grid that a folder of results belongs to.

    Args:
        folder: with `config.yaml`.

    Raises:
        BenchError: it is no such folder, or the file is damaged.
    """
    path = folder / "config.yaml"
    return checked_grid(read_yaml(path) or {}, str(path))


def read_model_facts(run: Path) -> tuple[Run, ModelSettings, dict[str, Any]]:
    """What a run trained: the run, its settings, and all that `result.json` says.

    Args:
        run: its folder.

    Raises:
        BenchError: the file is missing or damaged.
    """
    found = read_checked(run / "result.json", _Model, _again(run))
    return Run(**found["run"]), ModelSettings(**found["settings"]), found


def read_result(run: Path) -> dict[str, Any]:
    """The result of a finished run.

    Args:
        run: its folder.

    Raises:
        BenchError: the file is missing or damaged.
    """
    return read_checked(run / "result.json", _Result, _again(run))


def read_cost(run: Path) -> dict[str, float | None]:
    """What the predictions of a run cost.

    Args:
        run: its folder.

    Raises:
        BenchError: the file is missing or damaged.
    """
    return read_checked(run / "cost.json", _Cost, _again(run))


def read_reason(run: Path) -> str:
    """Why a run failed.

    Args:
        run: its folder.

    Raises:
        BenchError: the file is missing or damaged.
    """
    path = run / "failed.json"
    return read_checked(path, _Failure, f"delete it; {_SAME}")["reason"]


def read_history(run: Path) -> list[dict[str, Any]]:
    """The row of each epoch of a run.

    Args:
        run: its folder.

    Raises:
        BenchError: the file is missing or damaged.
    """
    path = run / "metrics.jsonl"
    lines = read_text(path).splitlines()
    if not lines:
        raise BenchError(f"{path} holds no epoch: {_again(run)}")
    return [
        _parsed(line, f"{path}, line {i},", _Epoch, _again(run))
        for i, line in enumerate(lines, 1)
    ]


def read_test_ids(run: Path) -> set[str]:
    """Ids of the structures that a run was tested on.

    Args:
        run: its folder.

    Raises:
        BenchError: the file is missing or damaged.
    """
    return set(read_checked(run / "split.json", _TestIds, _again(run))["test"])


def read_split(run: Path) -> Split:
    """The split of a run.

    Args:
        run: its folder.

    Raises:
        BenchError: the file is missing or damaged.
    """
    try:
        return Split.load(run / "split.json")
    except OSError as error:
        raise BenchError(f"{run / 'split.json'}: {error.strerror}.") from error
    except (ValueError, TypeError) as error:
        raise BenchError(f"{in_short(error)} Or {_again(run)}") from error


def read_tested(run: Path) -> list[Any]:
    """Structures of the validation and test parts of a run, as ASE objects.

    Args:
        run: its folder.

    Raises:
        BenchError: the file is missing or damaged.
    """
    return _frames(run, _check_structure)


def _frames(run: Path, check: Callable[[Any], None]) -> list[Any]:
    import ase.io

    from ._comment_line import parse_comment

    path = run / "predictions.extxyz"
    frame = None
    try:
        with path.open(encoding="utf-8") as file:
            parse = {"properties_parser": parse_comment}
            frames = list(ase.io.iread(file, format="extxyz", **parse))
        for frame in frames:
            check(frame)
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}.") from error
    except Exception as error:  # ASE's readers raise whatever they like
        raise BenchError(
            f"{path} is damaged ({type(error).__name__}: {in_short(error)}): "
            f"{_again(run)}"
        ) from error
    return frames


def read_test_predictions(run: Path, sizes: dict[str, int], split: Split) -> list[Any]:
    """Predictions for the test part of a run.

    Args:
        run: its folder.
        sizes: of the parts, by its result.
        split: of the run.

    Raises:
        BenchError: the file is missing, damaged, or not of this run.
    """
    frames = [f for f in _frames(run, _check_predictions) if f.info["part"] == "test"]
    ids = {str(f.info["id"]) for f in frames}
    if len(frames) != sizes["test"] or not ids <= set(split.test):
        raise BenchError(
            f"{run / 'predictions.extxyz'} does not hold the structures that the run "
            f"was tested on: {_again(run)}"
        )
    return frames


def _check_structure(frame: Any) -> None:
    """Raises something where a frame lacks what a simulation needs."""
    for name in ("id", "group", "part"):
        if name not in frame.info:
            raise ValueError(f"a structure has no {name}")
    numbers = [frame.info["total_charge"], frame.info.get("spin", 0)]
    if not np.isfinite(np.array(numbers, float)).all():
        raise ValueError("a number of a structure is not finite")


def _check_predictions(frame: Any) -> None:
    """Raises something where a frame lacks what a report needs."""
    _check_structure(frame)
    numbers = [frame.info["index"], frame.info.get("floor_energy", 0.0)]
    if not np.isfinite(np.array(numbers, float)).all():
        raise ValueError("a number of a structure is not finite")
    for kind in KINDS:
        pair = compared(frame, kind)
        if pair is None:
            continue
        found, label = (np.asarray(side, float) for side in pair)
        if found.shape != label.shape:
            raise ValueError(f"a {kind} has another size than its label")


_SAME = "the same `bench run` makes it again."


def _again(run: Path) -> str:
    return f"delete the folder {run}; {_SAME}"


def read_checked(path: Path, kind: type[pydantic.BaseModel], remedy: str) -> Any:
    """What a JSON file holds.

    Args:
        path: of the file.
        kind: what it holds at least.
        remedy: what to do where it is damaged; ends the message.

    Raises:
        BenchError: it is missing, or holds something else.
    """
    return _parsed(read_text(path), str(path), kind, remedy)


def _parsed(text: str, name: str, kind: type[pydantic.BaseModel], remedy: str) -> Any:
    """A JSON text that holds at least what `kind` names."""
    found = parse_json(text, name, remedy)
    try:
        # As JSON, for strictness knows no tuples in lists.
        kind.model_validate_json(json.dumps(found), strict=True)
    except (pydantic.ValidationError, BenchError) as error:
        why = in_short(error)
        if isinstance(error, pydantic.ValidationError):
            first = error.errors()[0]
            why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".lstrip(": ")
        raise BenchError(f"{name} is damaged ({why}): {remedy}") from error
    return found
