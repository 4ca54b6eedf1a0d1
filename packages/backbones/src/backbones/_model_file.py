"""Model files: a JSON header that describes a potential, and its arrays."""

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
from ._file import with_arrays, write_arrays
from ._header import ARCHITECTURES, KIND, UNITS, Header, checked_header
from ._long_range import LongRange
from ._potential import Potential


def save(path: str | os.PathLike, potential: Potential) -> None:
    """Writes a potential to a file, atomically and without pickle.

    Args:
        path: file to write.
        potential: with a backbone of this package.

    Raises:
        ValueError: the backbone is not of this package.
    """
    backbone: Any = potential.backbone
    names = {kind.backbone: name for name, kind in ARCHITECTURES.items()}
    if type(backbone) not in names:
        raise ValueError(
            f"{type(backbone).__name__} is not a backbone of this package: write its "
            "arrays with `write_arrays` and read them with `read_arrays`."
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
            hook: _description(layer) for hook, layer in backbone.hooks.layers.items()
        },
        "units": UNITS,
        "versions": {name: version(name) for name in ("backbones", "jax")},
    }
    write_arrays(path, potential, header)


def load(
    path: str | os.PathLike, *, long_range: Mapping[str, LongRange] | None = None
) -> Potential:
    """Returns the potential of a model file, in JAX's default float type.

    The header is checked against the arrays before the model is built.

    Args:
        path: file written by `save`.
        long_range: layers by hook, of the same types and settings as those of the saved
            model; their arrays are replaced by the stored ones. None for no layers.

    Raises:
        OSError: the file cannot be opened.
        ValueError: the file is damaged, of another kind or of an unsupported
            architecture, or `long_range` does not match the saved model.
    """
    stored, arrays = read_archive(Path(path), arrays=True)
    try:
        header = checked_header(stored, arrays)
        _check_layers(header.long_range, long_range or {})
        skeleton = _skeleton(header, dict(long_range or {}))
    except ValueError as error:
        raise ValueError(f"The model in {path}: {error}") from error
    potential = with_arrays(path, skeleton, arrays)
    _check_values(path, potential)
    return potential


def _skeleton(header: Header, long_range: dict[str, LongRange]) -> Potential:
    """Returns the potential with shapes in place of arrays."""

    def build(key, layers):
        backbone = header.architecture.backbone(
            header.elements,
            header.size,
            cutoff=header.cutoff,
            avg_num_neighbors=1.0,  # replaced by the stored array
            long_range=layers,
            charges=header.charges,
            key=key,
        )
        return Potential(backbone, header.atomic_energies, zbl=header.zbl)

    return eqx.filter_eval_shape(build, jr.key(0), long_range)


def _check_values(path, potential: Potential) -> None:
    """Raises an error unless weights are finite and `avg_num_neighbors` is positive."""
    for leaf_path, leaf in jax.tree.leaves_with_path(
        eqx.filter(potential, eqx.is_array)
    ):
        if not np.isfinite(np.asarray(leaf)).all():
            raise ValueError(
                f"The model in {path} has values that are not finite in "
                f"{jax.tree_util.keystr(leaf_path)}: its training failed, or the file "
                "is damaged."
            )
    backbone: Any = potential.backbone
    if not backbone.avg_num_neighbors > 0:
        raise ValueError(
            f"The model in {path} has avg_num_neighbors="
            f"{float(backbone.avg_num_neighbors)}, which must be positive."
        )


def _check_layers(stored: Mapping[str, Any], given: Mapping[str, LongRange]):
    for hook in sorted(set(stored) | set(given)):
        saved = stored.get(hook)
        current = _description(given[hook]) if hook in given else None
        if saved != current:
            raise ValueError(
                f"it has {_as_text(saved)} at the hook {hook!r:.80}, and `long_range` "
                f"has {_as_text(current)}: pass one with the same settings."
            )


def _description(module: Any) -> dict[str, Any]:
    """Returns type and settings of a layer and of the modules in it."""
    package = type(module).__module__.partition(".")[0]
    settings = {}
    for field in dataclasses.fields(module):
        value = getattr(module, field.name)
        if isinstance(value, eqx.Module):
            settings[field.name] = _description(value)
        elif isinstance(value, tuple) and any(isinstance(v, eqx.Module) for v in value):
            settings[field.name] = [_description(v) for v in value]
        elif value is None or isinstance(value, bool | int | float | str):
            settings[field.name] = value
    return {"type": f"{package}.{type(module).__name__}", "settings": settings}


def _as_text(description: Mapping[str, Any] | None) -> str:
    if description is None:
        return "no layer"
    settings = ", ".join(f"{k}={v!r}" for k, v in description["settings"].items())
    return f"{description['type']}({settings})"
