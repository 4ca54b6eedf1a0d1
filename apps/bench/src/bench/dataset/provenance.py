"""What results and checkpoints were made from: data, split and settings."""

import json
from collections.abc import Mapping
from typing import Any

from chemsplit import Split

from bench.dataset.opening import Dataset
from bench.exceptions import BenchError, abbreviated
from bench.settings.grid import Grid, Run

KEY = "made_from"
"""Of headers and results, where what they were made from stands."""

_NAMED = 3
"""Differences that a message names."""


def provenance(
    grid: Grid, run: Run, data: Dataset, split: Split, devices: int | None
) -> dict[str, Any]:
    """What a run is made from: all that decides its weights.

    Args:
        grid: with the settings.
        run: one of its runs.
        data: with labels.
        split: of the data.
        devices: how many share a step, which is its size; None where it is no matter.

    Returns:
        Digests of data and split, and the settings, as JSON holds them.
    """
    train = grid.training(run.backbone).model_dump(mode="json")
    settings = {
        "splits": run.split,
        "backbones": run.backbone,
        "long_range": run.long_range,
        "seeds": run.seed,
        "split": grid.split.model_dump(mode="json"),
        "model": grid.model.model_dump(mode="json"),
        "train": train | {"devices": devices},
    }
    found = {
        "data": data.digest,
        "atomic_energies": data.atomic_energies,
        "split": split.digest,
        "settings": settings,
    }
    return json.loads(json.dumps(found))


def devices_of(made_from: Any) -> int | None:
    """How many devices shared a step; None if it is not said.

    Args:
        made_from: from `provenance`, as a file has it.
    """
    try:
        return made_from["settings"]["train"]["devices"]
    except (KeyError, TypeError):
        return None


def check_provenance(
    where: str, there: Mapping[str, Any] | None, here: Mapping[str, Any], remedy: str
) -> None:
    """Refuses what was made from something else.

    Args:
        where: a file or folder.
        there: what it was made from; None if it does not say.
        here: what it is to go on with.
        remedy: what to do about it, the end of the message.

    Raises:
        BenchError: the two differ; the message names how.
    """
    if there is None:
        raise BenchError(
            f"{where} was written by an earlier version and does not say from which "
            f"data, split and settings: {remedy}."
        )
    for key, what in (("data", "data"), ("atomic_energies", "atomic energies")):
        if there.get(key) != here.get(key):
            shown = differences({key: there.get(key)}, {key: here.get(key)})
            raise BenchError(f"{where} was made from other {what}, {shown}: {remedy}.")
    if there.get("settings") != here.get("settings"):
        shown = differences(there.get("settings") or {}, here.get("settings") or {})
        raise BenchError(f"{where} was made with other settings, {shown}: {remedy}.")
    for key in sorted({*there, *here}):
        if there.get(key) != here.get(key):
            shown = differences({key: there.get(key)}, {key: here.get(key)})
            raise BenchError(f"{where} was made with another {key}, {shown}: {remedy}.")


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """The first keys whose values differ, with both values.

    Args:
        there: nested values, as JSON holds them.
        here: the same.
    """
    old, new = _flat(there), _flat(here)
    keys = [k for k in {**new, **old} if old.get(k) != new.get(k)]
    shown = [
        f"{key} (there {abbreviated(old.get(key))}, here {abbreviated(new.get(key))})"
        for key in keys[:_NAMED]
    ]
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(shown) + more


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
