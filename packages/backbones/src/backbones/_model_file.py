"""A potential in one file: what it is in a JSON header, and its arrays."""

import dataclasses
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
import numpy as np

from ._archive import read_archive
from ._file import filled, write_arrays
from ._header import ARCHITECTURES, KIND, UNITS, Header, checked_header
from ._long_range import LongRange
from ._potential import Potential


def save(path: str | os.PathLike, potential: Potential) -> None:
    """Writes a potential to one file, whole or not at all and without pickle.

    Args:
        path: file to write.
        potential: of a backbone of this package.

    Raises:
        ValueError: the backbone is of another package.
    """
    backbone: Any = potential.backbone
    names = {kind.backbone: name for name, kind in ARCHITECTURES.items()}
    if type(backbone) not in names:
        raise ValueError(
            f"{type(backbone).__name__} is not a backbone of this package: write its "
            "arrays with `write_arrays` and rebuild it by its own means."
        )
    header = {
        "kind": KIND,
        "architecture": names[type(backbone)],
        "size": dataclasses.asdict(backbone.size),
        "elements": list(backbone.elements),
        "cutoff": backbone.cutoff,
        "atomic_energies": [list(pair) for pair in potential.atomic_energies],
        "zbl": potential.zbl,
        "charges": backbone.hooks.charges,
        "long_range": {
            hook: _described(layer) for hook, layer in backbone.hooks.layers.items()
        },
        "units": UNITS,
        "versions": {name: version(name) for name in ("backbones", "jax")},
    }
    write_arrays(path, potential, header)


def load(
    path: str | os.PathLike, *, long_range: Mapping[str, LongRange] | None = None
) -> Potential:
    """The potential of a file that `save` wrote, in the float type JAX runs in.

    Nothing is built before the header is known to fit the arrays of the file.

    Args:
        path: the file.
        long_range: layers by hook, built like those of the saved model; their arrays
            are replaced by the stored ones.

    Raises:
        OSError: the file cannot be opened.
        ValueError: the file is damaged, of another kind or of an architecture this
            release does not know, or `long_range` is not what the model had.
    """
    stored, arrays = read_archive(Path(path), arrays=True)
    try:
        header = checked_header(stored, arrays)
        _check_layers(header.long_range, long_range or {})
        skeleton = _skeleton(header, dict(long_range or {}))
    except ValueError as error:
        raise ValueError(f"The model in {path}: {error}") from error
    potential = filled(path, skeleton, arrays)
    _check_values(path, potential)
    return potential


def _skeleton(header: Header, long_range: dict[str, LongRange]) -> Potential:
    """The potential with shapes in place of arrays."""

    def build(key, layers):
        backbone = header.architecture.backbone(
            header.elements,
            header.size,
            cutoff=header.cutoff,
            avg_num_neighbors=1.0,  # an array, like the scale of the energies
            long_range=layers,
            charges=header.charges,
            key=key,
        )
        return Potential(backbone, header.atomic_energies, zbl=header.zbl)

    return eqx.filter_eval_shape(build, jr.key(0), long_range)


def _check_values(path, potential: Potential) -> None:
    """Refuses weights that are not finite and sums over no neighbours."""
    for at, leaf in jax.tree.leaves_with_path(eqx.filter(potential, eqx.is_array)):
        if not np.isfinite(np.asarray(leaf)).all():
            raise ValueError(
                f"The model in {path} has values that are not finite in "
                f"{jax.tree_util.keystr(at)}: its training failed, or the file is "
                "damaged."
            )
    backbone: Any = potential.backbone
    if not backbone.avg_num_neighbors > 0:
        raise ValueError(
            f"The model in {path} has avg_num_neighbors="
            f"{float(backbone.avg_num_neighbors)}, which must be positive."
        )


def _check_layers(stored: Mapping[str, Any], given: Mapping[str, LongRange]):
    for hook in sorted(set(stored) | set(given)):
        had = stored.get(hook)
        has = _described(given[hook]) if hook in given else None
        if had != has:
            raise ValueError(
                f"it has {_worded(had)} at the hook {hook!r:.80}, and `long_range` has "
                f"{_worded(has)}: pass one built the same way."
            )


def _described(module: Any) -> dict[str, Any]:
    """The type of a layer and its settings, those of the layers in it included."""
    package = type(module).__module__.partition(".")[0]
    settings = {}
    for field in dataclasses.fields(module):
        value = getattr(module, field.name)
        if isinstance(value, eqx.Module):
            settings[field.name] = _described(value)
        elif isinstance(value, tuple) and any(isinstance(v, eqx.Module) for v in value):
            settings[field.name] = [_described(v) for v in value]
        elif value is None or isinstance(value, bool | int | float | str):
            settings[field.name] = value
    return {"type": f"{package}.{type(module).__name__}", "settings": settings}


def _worded(description: Mapping[str, Any] | None) -> str:
    if description is None:
        return "no layer"
    settings = ", ".join(f"{k}={v!r}" for k, v in description["settings"].items())
    return f"{description['type']}({settings})"
