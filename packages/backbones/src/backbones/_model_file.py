"""A potential in one file: what it is in a JSON header, and its arrays."""

import dataclasses
import os
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import equinox as eqx
import jax.random as jr

from ._allegro import Allegro
from ._allegro_size import AllegroSize
from ._contract import LongRange
from ._dimenet import DimeNet
from ._directional import DimeNetSize
from ._file import read_arrays, read_header, write_arrays
from ._mace import MACE, MACESize
from ._potential import Potential

_KIND = "backbones potential 1"
_ARCHITECTURES = {
    "Allegro": (Allegro, AllegroSize),
    "DimeNet++": (DimeNet, DimeNetSize),
    "MACE": (MACE, MACESize),
}
_UNITS = {"length": "Å", "energy": "eV", "charge": "e", "stress": "eV/Å^3"}


def save(path: str | os.PathLike, potential: Potential) -> None:
    """Writes a potential to one file, whole or not at all and without pickle.

    Args:
        path: file to write.
        potential: of a backbone of this package.

    Raises:
        ValueError: the backbone is of another package.
    """
    backbone: Any = potential.backbone
    names = {kind: name for name, (kind, _) in _ARCHITECTURES.items()}
    if type(backbone) not in names:
        raise ValueError(
            f"{type(backbone).__name__} is not a backbone of this package: write its "
            "arrays with `write_arrays` and rebuild it by its own means."
        )
    header = {
        "kind": _KIND,
        "architecture": names[type(backbone)],
        "size": dataclasses.asdict(backbone.size),
        "elements": list(backbone.elements),
        "cutoff": backbone.cutoff,
        "references": [list(pair) for pair in potential.references],
        "zbl": potential.zbl,
        "charges": backbone.hooks.charges,
        "long_range": {
            hook: _described(layer) for hook, layer in backbone.hooks.layers.items()
        },
        "units": _UNITS,
        "versions": {name: version(name) for name in ("backbones", "jax")},
    }
    write_arrays(path, potential, header)


def load(
    path: str | os.PathLike, *, long_range: Mapping[str, LongRange] | None = None
) -> Potential:
    """The potential of a file that `save` wrote, in the float type JAX runs in.

    Args:
        path: the file.
        long_range: layers by hook, built like those of the saved model; their arrays
            are replaced by the stored ones.

    Raises:
        ValueError: the file is damaged, of another kind or of an architecture this
            release does not know, or `long_range` is not what the model had.
    """
    header = read_header(path)
    if header.get("kind") != _KIND:
        raise ValueError(
            f"{path} is of kind {header.get('kind')!r}; `load` reads {_KIND!r}."
        )
    if header["architecture"] not in _ARCHITECTURES:
        raise ValueError(
            f"{path} holds the architecture {header['architecture']!r}; this release "
            f"knows {', '.join(_ARCHITECTURES)}."
        )
    _check_layers(path, header["long_range"], long_range or {})
    kind, size = _ARCHITECTURES[header["architecture"]]
    backbone = kind(
        tuple(header["elements"]),
        _built_size(path, size, header["size"]),
        cutoff=header["cutoff"],
        average_neighbours=1.0,  # an array of the file, like the scale of the energies
        long_range=long_range,
        charges=header["charges"],
        key=jr.key(0),
    )
    references = {int(z): float(energy) for z, energy in header["references"]}
    return read_arrays(path, Potential(backbone, references, zbl=header["zbl"]))


def _built_size(path, size: type, stored: Mapping[str, Any]) -> Any:
    odd = sorted(set(stored) ^ {field.name for field in dataclasses.fields(size)})
    if odd:
        raise ValueError(
            f"{path} was written by another release: {size.__name__} and the file "
            f"differ in {odd[0]!r}."
        )
    tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
    return size(**tuples)


def _check_layers(path, stored: Mapping[str, Any], given: Mapping[str, LongRange]):
    for hook in sorted(set(stored) | set(given)):
        had = stored.get(hook)
        has = _described(given[hook]) if hook in given else None
        if had != has:
            raise ValueError(
                f"The model in {path} has {_worded(had)} at the hook {hook!r}, and "
                f"`long_range` has {_worded(has)}: pass one built the same way."
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
