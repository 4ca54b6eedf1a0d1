"""Headers of model files, and the checks before a model is built from one."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ._backbone import element_table
from .allegro import Allegro, AllegroSize
from .dimenet import DimeNet, DimeNetSize
from .mace import MACE, MACESize

KIND = "backbones potential 2"
UNITS = {"length": "Å", "energy": "eV", "charge": "e", "stress": "eV/Å^3"}

# Larger than any physical value, and far below overflow in float32.
_LARGEST = 1e15


class Architecture(NamedTuple):
    """A backbone that model files support."""

    backbone: Callable[..., Any]
    size: type
    modules: Callable[[Any], int]
    """Lower bound of the number of arrays, given the size: repeated modules."""


ARCHITECTURES = {
    "Allegro": Architecture(Allegro, AllegroSize, lambda s: s.num_layers * s.depth),
    "DimeNet++": Architecture(
        DimeNet,
        DimeNetSize,
        lambda s: (
            s.num_blocks * (s.num_before_skip + s.num_after_skip + s.num_output_layers)
        ),
    ),
    "MACE": Architecture(MACE, MACESize, lambda s: s.num_interactions),
}


class Header(NamedTuple):
    """Contents of the header of a model file."""

    architecture: Architecture
    size: Any
    elements: tuple[int, ...]
    cutoff: float
    atomic_energies: dict[int, float]
    zbl: bool
    charges: str | None
    long_range: dict[str, Any]


def checked_header(stored: Mapping[str, Any], arrays: Mapping[str, Any]) -> Header:
    """Returns the header of a model file, after a check of all entries.

    Args:
        stored: JSON header of the file.
        arrays: arrays of the file, which limit the sizes of the model.

    Raises:
        ValueError: an entry is missing, unknown or invalid; the message names it.
    """
    if stored.get("kind") != KIND:
        raise ValueError(f"it is of kind {stored.get('kind')!r:.80}; expected {KIND!r}")
    name = stored.get("architecture")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise ValueError(
            f"its architecture is {name!r:.80}; this release supports "
            f"{', '.join(ARCHITECTURES)}"
        )
    known = {*Header._fields, "kind", "units", "versions"}
    unmatched = sorted(known ^ set(stored))
    if unmatched:
        problem = "lacks" if unmatched[0] in known else "has the unknown entry"
        raise ValueError(
            f"its header {problem} {unmatched[0]!r:.80}: made by another version, "
            "train or write the model again"
        )
    if stored["units"] != UNITS:
        raise ValueError(f"its units are {stored['units']!r:.80}; expected {UNITS}")
    elements = _elements(stored["elements"])
    architecture = ARCHITECTURES[name]
    return Header(
        architecture,
        _size(architecture, stored["size"], arrays),
        elements,
        _cutoff(stored["cutoff"]),
        _atomic_energies(stored["atomic_energies"], elements),
        _typed("zbl", stored["zbl"], bool),
        _typed("charges", stored["charges"], str | None),
        _layers(stored["long_range"]),
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


def _layers(stored: Any) -> dict[str, Any]:
    for hook, layer in _typed("long_range", stored, dict).items():
        parts = layer if isinstance(layer, dict) else {}
        if not isinstance(parts.get("type"), str) or not isinstance(
            parts.get("settings"), dict
        ):
            raise ValueError(f"`long_range` does not describe a layer at {hook!r:.80}")
    return stored


def _size(architecture: Architecture, stored: Any, arrays: Mapping[str, Any]) -> Any:
    """Returns the hyperparameters, after a check that the arrays can have them."""
    kind = architecture.size
    unmatched = sorted(
        set(_typed("size", stored, dict)) ^ {f.name for f in dataclasses.fields(kind)}
    )
    if unmatched:
        raise ValueError(
            f"only one of {kind.__name__} and the file has {unmatched[0]!r:.80}: made "
            "by another version, train or write the model again"
        )
    largest = max([len(arrays), *(array.size for array in arrays.values())])
    values = {
        field.name: _setting(field.name, field.type, stored[field.name], largest)
        for field in dataclasses.fields(kind)
    }
    size = kind(**values)
    if architecture.modules(size) > len(arrays):
        raise ValueError(
            f"`size` implies more arrays than the {len(arrays)} of the file"
        )
    return size


def _setting(name: str, expected: Any, value: Any, largest: int) -> Any:
    if expected is int:
        if type(value) is not int or not 0 <= value <= largest:
            raise ValueError(
                f"`size` has {name}={value!r:.80}; expected an integer of at most "
                f"{largest}, the size of the largest array of the file"
            )
        return value
    entry = int if expected == tuple[int, ...] else str
    values = _typed(name, value, list)
    if not all(type(v) is entry for v in values) or len(values) > largest:
        raise ValueError(f"`size` has {name}={value!r:.80}; expected {expected}")
    return tuple(_setting(name, int, v, largest) if entry is int else v for v in values)


def _typed(name: str, value: Any, expected: Any) -> Any:
    if not isinstance(value, expected):
        type_name = getattr(expected, "__name__", expected)
        raise ValueError(f"`{name}` is {value!r:.80}; expected {type_name}")
    return value


def _is_number(value: Any) -> bool:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return numeric and -_LARGEST < value < _LARGEST
