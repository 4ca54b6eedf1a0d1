"""Headers of model files, and the checks before a model is built from one."""

import dataclasses
import types
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from ._backbone import element_table
from ._installed import BACKBONES, describe, describe_layer, find_class
from ._potential import Potential
from .allegro import AllegroSize
from .dimenet import DimeNetSize
from .mace import MACESize

KIND = "backbones potential 4"
UNITS = {"length": "Å", "energy": "eV", "charge": "e", "stress": "eV/Å^3"}

# Larger than any physical value, and far below overflow in float32.
_LARGEST = 1e15

# Integers of a layer that are no array's size, such as its lowest total charge.
_LARGEST_SETTING = 1000

# Of nested values; a sum of layers takes three levels.
_LARGEST_DEPTH = 12

# Lower bound of the number of arrays of a backbone, given its size: repeated modules.
_NUM_MODULES: dict[type, Callable[[Any], int]] = {
    AllegroSize: lambda s: s.num_layers * s.depth,
    DimeNetSize: lambda s: (
        s.num_blocks * (s.num_before_skip + s.num_after_skip + s.num_output_layers)
    ),
    MACESize: lambda s: s.num_interactions,
}


class Header(NamedTuple):
    """Contents of the header of a model file."""

    backbone: Any
    """Class of the backbone."""
    size: Any
    elements: tuple[int, ...]
    cutoff: float
    charges: str | None
    atomic_energies: dict[int, float]
    zbl: bool
    long_range: dict[str, Any]
    """Descriptions of the layers by hook, see `build_layer`."""


_ENTRIES = {"kind", "backbone", "long_range", "atomic_energies", "zbl", "boundaries"}
_ENTRIES |= {"heads", "units", "versions"}


def header_of(potential: Potential) -> dict[str, Any]:
    """Returns the header of the file of a potential.

    Args:
        potential: with a backbone and layers of installed packages.

    Raises:
        ValueError: the backbone or a layer is of no installed package.
    """
    backbone = potential.backbone
    layers = backbone.hooks.layers
    arguments = {
        "elements": list(backbone.elements),
        "size": dataclasses.asdict(backbone.size),
        "cutoff": backbone.cutoff,
        "charges": backbone.hooks.charges,
    }
    return {
        "kind": KIND,
        "backbone": describe(BACKBONES, backbone, arguments),
        "long_range": {hook: describe_layer(layer) for hook, layer in layers.items()},
        "atomic_energies": [list(pair) for pair in potential.atomic_energies],
        "zbl": potential.zbl,
        # For other versions: this one has neither, and refuses files that have.
        "boundaries": None,
        "heads": {},
        "units": UNITS,
        "versions": {name: version(name) for name in ("backbones", "jax")},
    }


def checked_header(stored: Mapping[str, Any], arrays: Mapping[str, Any]) -> Header:
    """Returns the header of a model file, after a check of all entries.

    Args:
        stored: JSON header of the file.
        arrays: arrays of the file, which limit the sizes of the model.

    Raises:
        ValueError: an entry is missing, unknown or invalid, or a package that the file
            needs is not installed; the message names it.
    """
    if stored.get("kind") != KIND:
        raise ValueError(
            f"it is of kind {stored.get('kind')!r:.80}, not {KIND!r}: made by another "
            "version, train or write the model again"
        )
    _check_entries("header", set(stored), _ENTRIES)
    for entry, empty in (("boundaries", None), ("heads", {})):
        if stored[entry] != empty:
            raise ValueError(
                f"it has `{entry}` {stored[entry]!r:.80}, which this version of "
                "backbones does not support: install a later one"
            )
    if stored["units"] != UNITS:
        raise ValueError(f"its units are {stored['units']!r:.80}; expected {UNITS}")
    kind = find_class(BACKBONES, stored["backbone"])
    arguments = stored["backbone"]["arguments"]
    _check_entries(
        "backbone", set(arguments), {"elements", "size", "cutoff", "charges"}
    )
    elements = _elements(arguments["elements"])
    layers = _typed("long_range", stored["long_range"], dict)
    for hook, description in layers.items():
        _check_bounded(f"the layer at {hook!r:.80}", description, arrays)
    return Header(
        kind,
        _size(kind.Size, arguments["size"], arrays),
        elements,
        _cutoff(arguments["cutoff"]),
        _typed("charges", arguments["charges"], str | None),
        _atomic_energies(stored["atomic_energies"], elements),
        _typed("zbl", stored["zbl"], bool),
        layers,
    )


def _check_entries(name: str, entries: set[str], known: set[str]) -> None:
    unmatched = sorted(known ^ entries)
    if unmatched:
        problem = "lacks" if unmatched[0] in known else "has the unknown entry"
        raise ValueError(
            f"its {name} {problem} {unmatched[0]!r:.80}: made by another version, "
            "train or write the model again"
        )


def _elements(stored: Any) -> tuple[int, ...]:
    numbers = _typed("elements", stored, list)
    are_integers = all(type(z) is int for z in numbers)
    # Arrays have a row per element, in ascending order.
    if not are_integers or list(element_table(tuple(numbers))) != numbers:
        raise ValueError(
            f"`elements` are not ascending atomic numbers: {numbers!r:.80}"
        )
    return tuple(numbers)


def _cutoff(stored: Any) -> float:
    if not _is_number(stored) or not stored > 0:
        raise ValueError(f"`cutoff` is not a positive distance: {stored!r:.80}")
    return float(stored)


def _atomic_energies(stored: Any, elements: tuple[int, ...]) -> dict[int, float]:
    pairs = _typed("atomic_energies", stored, list)
    if not all(isinstance(p, list) and len(p) == 2 for p in pairs):
        raise ValueError(
            f"`atomic_energies` are not pairs of element and energy: {stored!r:.80}"
        )
    if [z for z, _ in pairs] != list(elements):
        raise ValueError(
            f"`atomic_energies` are not those of the elements {list(elements)} in this "
            f"order: {stored!r:.80}"
        )
    wrong = [z for z, energy in pairs if not _is_number(energy)]
    if wrong:
        raise ValueError(f"the atomic energy of element {wrong[0]} is not finite")
    return {int(z): float(energy) for z, energy in pairs}


def _check_bounded(
    name: str, value: Any, arrays: Mapping[str, Any], depth: int = 0
) -> None:
    """Raises an error for values with which a constructor could run without end."""
    largest = max(_largest(arrays), _LARGEST_SETTING)
    if depth > _LARGEST_DEPTH:
        raise ValueError(f"{name} is nested too deeply")
    if isinstance(value, dict | list):
        if len(value) > len(arrays) + 8:
            raise ValueError(f"{name} has {len(value)} values, more than arrays")
        for entry in value.values() if isinstance(value, dict) else value:
            _check_bounded(name, entry, arrays, depth + 1)
    elif isinstance(value, bool | str | None):
        return
    elif isinstance(value, int) and abs(value) > largest:
        raise ValueError(
            f"{name} has {value!r:.80}; expected integers of at most {largest}, the "
            "size of the largest array of the file"
        )
    elif not _is_number(value):
        raise ValueError(f"{name} has {value!r:.80}, which is not finite")


def _largest(arrays: Mapping[str, Any]) -> int:
    return max([len(arrays), *(array.size for array in arrays.values())])


def _size(kind: type, stored: Any, arrays: Mapping[str, Any]) -> Any:
    """Returns the hyperparameters, after a check that the arrays can have them."""
    names = [field.name for field in dataclasses.fields(kind)]
    unmatched = sorted(set(_typed("size", stored, dict)) ^ set(names))
    if unmatched:
        raise ValueError(
            f"only one of {kind.__name__} and the file has {unmatched[0]!r:.80}: made "
            "by another version, train or write the model again"
        )
    largest, expected = _largest(arrays), get_type_hints(kind)
    values = {n: _setting(n, expected[n], stored[n], largest) for n in names}
    size = kind(**values)
    if _NUM_MODULES.get(kind, lambda size: 0)(size) > len(arrays):
        raise ValueError(
            f"`size` implies more arrays than the {len(arrays)} of the file"
        )
    return size


def _setting(name: str, expected: Any, value: Any, largest: int) -> Any:
    """Returns a hyperparameter, with a tuple in place of a list."""
    if get_origin(expected) is types.UnionType:
        kind = types.NoneType if value is None else get_args(expected)[0]
        return _setting(name, kind, value, largest)
    if get_origin(expected) is tuple and isinstance(value, list):
        entries = get_args(expected)
        if entries[-1] is Ellipsis and len(value) <= largest:
            return tuple(_setting(name, entries[0], v, largest) for v in value)
        if len(entries) == len(value):
            pairs = zip(entries, value, strict=True)
            return tuple(_setting(name, entry, v, largest) for entry, v in pairs)
    if expected is int and type(value) is int and 0 <= value <= largest:
        return value
    if expected is float and not isinstance(value, list) and _is_number(value):
        return float(value)
    if expected in (bool, str, types.NoneType) and type(value) is expected:
        return value
    limit = f" of at most {largest}, the size of the largest array of the file"
    raise ValueError(
        f"`size` has {name}={value!r:.80}; expected "
        f"{getattr(expected, '__name__', expected)}{limit if expected is int else ''}"
    )


def _typed(name: str, value: Any, expected: Any) -> Any:
    if not isinstance(value, expected):
        type_name = getattr(expected, "__name__", expected)
        raise ValueError(f"`{name}` is {value!r:.80}; expected {type_name}")
    return value


def _is_number(value: Any) -> bool:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return numeric and -_LARGEST < value < _LARGEST
