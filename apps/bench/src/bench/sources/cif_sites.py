"""Atom sites of a CIF: elements, coordinates and further columns."""

import re
from collections.abc import Iterable
from typing import Any, cast

import numpy as np
from ase.data import atomic_numbers
from gemmi import cif
from jaxtyping import Float, Int

from bench.sources.row import RowError

SITE = "_atom_site_"
FRACTIONAL = ("fract_x", "fract_y", "fract_z")
CARTESIAN = ("cartn_x", "cartn_y", "cartn_z")

Columns = dict[str, list[str]]
"""Values as strings, by lower-case tag without `SITE`."""


def site_columns(block: cif.Block) -> Columns | None:
    """Returns the columns of the loop with the coordinates; None if there is none.

    Args:
        block: data block of a CIF.
    """
    for names in (FRACTIONAL, CARTESIAN):
        values = block.find_values(SITE + names[0])
        if len(values) == 0:
            continue
        loop = values.get_loop()
        if loop is None:  # a single site needs no loop
            pairs = [item.pair for item in cast(Iterable[Any], block)]
            tags = [(pair[0], [pair[1]]) for pair in pairs if pair is not None]
        else:
            tags = [
                (t, loop.values[i :: loop.width()]) for i, t in enumerate(loop.tags)
            ]
        columns = {
            tag.lower().removeprefix(SITE): values
            for tag, values in tags
            if tag.lower().startswith(SITE)
        }
        missing = set(names) - set(columns)
        if missing:
            raise RowError(f"its sites have no {SITE}{min(missing)}")
        return columns
    return None


def check_ordered(columns: Columns, *, symmetric: bool) -> None:
    """Checks that a structure is ordered and has all its hydrogen atoms.

    Args:
        columns: columns of the loop of sites, by tag.
        symmetric: whether symmetry operations generate further atoms.

    Raises:
        RowError: sites are partially occupied or alternatives, or hydrogen atoms have
            no coordinates.
    """
    for value in set(columns.get("occupancy", ())):
        occupancy = 1.0 if cif.is_null(value) else _number(value)
        if np.isnan(occupancy):
            raise RowError(f"an occupancy is not a number: {value!r}")
        if occupancy < 1:
            raise RowError("sites are partially occupied: give ordered structures")
    _check_alternatives(columns, symmetric)
    labels = columns.get("label", columns.get("type_symbol", ()))
    hydrogens = columns.get("attached_hydrogens", ())
    for label, value in zip(labels, hydrogens, strict=False):
        if not cif.is_null(value) and _number(value) > 0:
            raise RowError(
                f"hydrogen atoms of site {label} have no coordinates: add them"
            )
    for label, flag in zip(labels, columns.get("calc_flag", ()), strict=False):
        if cif.as_string(flag).lower() == "dum":
            raise RowError(f"site {label} is a dummy atom: remove it")


def _check_alternatives(columns: Columns, symmetric: bool) -> None:
    groups = columns.get("disorder_group", [])
    assemblies = columns.get("disorder_assembly", ["."] * len(groups))
    alternatives: dict[str, set[str]] = {}
    for assembly, group in zip(assemblies, groups, strict=True):
        if not cif.is_null(group) and group != "0":
            alternatives.setdefault(assembly, set()).add(group)
    has_alternatives = any(len(candidates) > 1 for candidates in alternatives.values())
    # Negative groups are disordered about a symmetry element: their images overlap.
    has_negative = any(g.startswith("-") for gs in alternatives.values() for g in gs)
    if has_alternatives or (symmetric and has_negative):
        raise RowError(
            "it contains alternatives of a disordered structure: give one of them"
        )


def site_atomic_numbers(columns: Columns) -> Int[np.ndarray, " sites"]:
    """Returns atomic numbers of the sites, from their types or else their labels.

    Args:
        columns: columns of the loop of sites, by tag.

    Raises:
        RowError: a type or label is not an element, or is ambiguous.
    """
    types = columns.get("type_symbol")
    names = columns.get("label") if types is None else types
    if names is None:
        raise RowError(f"its sites have neither {SITE}type_symbol nor {SITE}label")
    is_type = types is not None
    numbers = {name: _element(cif.as_string(name), is_type) for name in set(names)}
    return np.array([numbers[name] for name in names])


def _element(text: str, is_type: bool) -> int:
    """Returns the atomic number for `Zn`, `Zn2+`, `ZN`, `O_3`, `OW1` or `D`.

    A label of two capital letters may begin with a one-letter element (`CA1`).
    """
    match = re.match(r"\d*([A-Z][a-z]+|[A-Z]+)", text)
    letters = match[1] if match else ""
    if letters == "D":
        return 1
    candidates = [letters[:2].capitalize(), letters[:1]]
    if letters[1:].islower() or (is_type and len(letters) > 2):
        candidates = [letters]
    elements = [s for s in dict.fromkeys(candidates) if atomic_numbers.get(s)]
    if not elements:
        raise RowError(f"there is no element {text!r}")
    if len(elements) > 1 and not is_type:
        raise RowError(
            f"a site labeled {text!r} may be {elements[0]} or {elements[1]}: add "
            f"{SITE}type_symbol"
        )
    return atomic_numbers[elements[0]]


def fractional_coordinates(
    columns: Columns, cell: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "sites 3"]:
    """Returns fractional coordinates of the sites.

    Args:
        columns: columns of the loop of sites, by tag.
        cell: lattice vectors as rows, Å.

    Raises:
        RowError: a coordinate is missing or not a number.
    """
    tags = FRACTIONAL if FRACTIONAL[0] in columns else CARTESIAN
    coordinates = np.array([[_number(v) for v in columns[tag]] for tag in tags]).T
    bad = np.flatnonzero(np.isnan(coordinates).any(1))
    if len(bad):
        given = " ".join(columns[tag][bad[0]] for tag in tags)
        raise RowError(f"site {bad[0] + 1} has no valid coordinates: {given!r}")
    return coordinates if tags is FRACTIONAL else coordinates @ np.linalg.inv(cell)


def numeric_columns(columns: Columns) -> dict[str, Float[np.ndarray, " sites"]]:
    """Returns the columns that contain only numbers.

    Args:
        columns: columns of the loop of sites, by tag.
    """
    numeric: dict[str, Any] = {}
    for name, texts in columns.items():
        numbers = np.array([_number(text) for text in texts])
        if not np.isnan(numbers).any():
            numeric[name] = numbers
    return numeric


def _number(text: str) -> float:
    """Returns a number without its uncertainty in brackets; NaN if it is none."""
    return cif.as_number(cif.as_string(text) if text[:1] in "'\"" else text)
