"""Provenance of results and checkpoints: data, split and settings."""

import json
from collections.abc import Mapping
from typing import Any

from chemsplit import Split

from bench.dataset.differences import differences
from bench.dataset.opening import Dataset
from bench.exceptions import BenchError
from bench.settings.grid import Grid, Run

PROVENANCE_KEY = "made_from"
"""Key of the provenance in headers and results."""


def provenance(
    grid: Grid, run: Run, data: Dataset, split: Split, devices: int | None
) -> dict[str, Any]:
    """Returns everything that determines the weights of a run.

    Args:
        grid: settings.
        run: one of the runs of the grid.
        data: labeled dataset.
        split: of the dataset.
        devices: number of devices that share a step, which multiplies the batch size;
            None if the file does not depend on it.

    Returns:
        Digests of data and split, and the settings, as JSON values.
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
    values = {
        "data": data.digest,
        "atomic_energies": data.atomic_energies,
        "split": split.digest,
        "settings": settings,
    }
    return json.loads(json.dumps(values))


def stored_device_count(made_from: Any) -> int | None:
    """Returns the number of devices that shared a step; None if it is not stored.

    Args:
        made_from: result of `provenance`, read from a file.
    """
    try:
        return made_from["settings"]["train"]["devices"]
    except (KeyError, TypeError):
        return None


def check_provenance(
    name: str,
    stored: Mapping[str, Any] | None,
    current: Mapping[str, Any],
    remedy: str,
) -> None:
    """Checks that a file was made from the current data, split and settings.

    Args:
        name: file or folder, for messages.
        stored: provenance in the file; None if it has none.
        current: provenance to compare with.
        remedy: end of the message: what the user can do.

    Raises:
        BenchError: the two differ; the message lists the differences.
    """
    if stored is None:
        raise BenchError(
            f"{name} was made by an older version, without its data, split and "
            f"settings: {remedy}."
        )
    for key, noun, shown_key in (
        ("data", "data", "hash"),
        ("atomic_energies", "atomic energies", "atomic_energies"),
    ):
        if stored.get(key) != current.get(key):
            shown = differences(
                {shown_key: stored.get(key)}, {shown_key: current.get(key)}
            )
            raise BenchError(
                f"{name} was made from different {noun}, {shown}: {remedy}."
            )
    if stored.get("settings") != current.get("settings"):
        shown = differences(stored.get("settings") or {}, current.get("settings") or {})
        raise BenchError(f"{name} was made with other settings, {shown}: {remedy}.")
    for key in sorted({*stored, *current}):
        if stored.get(key) != current.get(key):
            shown = differences({key: stored.get(key)}, {key: current.get(key)})
            raise BenchError(f"{name} was made with another {key}, {shown}: {remedy}.")
