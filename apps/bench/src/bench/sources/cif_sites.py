"""Sites of a CIF: elements, coordinates and the columns beside them."""

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
"""Values as written, by lower-case name without `SITE`."""


def columns_of(block: cif.Block) -> Columns | None:
    """The columns that stand beside the coordinates, None where there are none.

    Args:
        block: of a CIF.
    """
    for names in (FRACTIONAL, CARTESIAN):
        values = block.find_values(SITE + names[0])
        if len(values) == 0:
            continue
        loop = values.get_loop()
        if loop is None:  # a single site may do without a loop
            pairs = [item.pair for item in cast(Iterable[Any], block)]
            tags = [(pair[0], [pair[1]]) for pair in pairs if pair is not None]
        else:
            tags = [
                (t, loop.values[i :: loop.width()]) for i, t in enumerate(loop.tags)
            ]
        found = {
            tag.lower().removeprefix(SITE): values
            for tag, values in tags
            if tag.lower().startswith(SITE)
        }
        missing = set(names) - set(found)
        if missing:
            raise RowError(f"its sites have no {SITE}{min(missing)}")
        return found
    return None


def check_order(columns: Columns, *, symmetric: bool) -> None:
    """Refuses sites that are not all there at once, or lack their hydrogens.

    Args:
        columns: of the sites.
        symmetric: whether the cell holds images of the sites.

    Raises:
        RowError: sites are partly occupied, alternatives, or hydrogens have no place.
    """
    for value in set(columns.get("occupancy", ())):
        occupancy = 1.0 if cif.is_null(value) else _number(value)
        if np.isnan(occupancy):
            raise RowError(f"an occupancy is not a number: {value!r}")
        if occupancy < 1:
            raise RowError("sites are partly occupied: give ordered structures")
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
            raise RowError(f"site {label} is a dummy: leave it out")


def _check_alternatives(columns: Columns, symmetric: bool) -> None:
    groups = columns.get("disorder_group", [])
    assemblies = columns.get("disorder_assembly", ["."] * len(groups))
    alternatives: dict[str, set[str]] = {}
    for assembly, group in zip(assemblies, groups, strict=True):
        if not cif.is_null(group) and group != "0":
            alternatives.setdefault(assembly, set()).add(group)
    several = any(len(choices) > 1 for choices in alternatives.values())
    # A negative group is disordered about a symmetry element: its images overlap.
    negative = any(g.startswith("-") for gs in alternatives.values() for g in gs)
    if several or (symmetric and negative):
        raise RowError(
            "it holds the alternatives of a disordered structure: give one of them"
        )


def numbers_of(columns: Columns) -> Int[np.ndarray, " sites"]:
    """Atomic numbers of the sites, by their type or else their label.

    Args:
        columns: of the sites.

    Raises:
        RowError: one of them is no element, or may be two.
    """
    types = columns.get("type_symbol")
    texts = columns.get("label") if types is None else types
    if texts is None:
        raise RowError(f"its sites have neither {SITE}type_symbol nor {SITE}label")
    known = {t: _element(cif.as_string(t), types is not None) for t in set(texts)}
    return np.array([known[t] for t in texts])


def _element(text: str, is_type: bool) -> int:
    """The atomic number behind `Zn`, `Zn2+`, `ZN`, `O_3`, `OW1` or `D`.

    A label of two capitals may begin with an element of one letter (`CA1`).
    """
    match = re.match(r"\d*([A-Z][a-z]+|[A-Z]+)", text)
    letters = match[1] if match else ""
    if letters == "D":
        return 1
    choices = [letters[:2].capitalize(), letters[:1]]
    if letters[1:].islower() or (is_type and len(letters) > 2):
        choices = [letters]
    found = [s for s in dict.fromkeys(choices) if atomic_numbers.get(s)]
    if not found:
        raise RowError(f"there is no element {text!r}")
    if len(found) > 1 and not is_type:
        raise RowError(
            f"a site labelled {text!r} may be {found[0]} or {found[1]}: add "
            f"{SITE}type_symbol"
        )
    return atomic_numbers[found[0]]


def coordinates_of(
    columns: Columns, cell: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "sites 3"]:
    """Fractional coordinates of the sites.

    Args:
        columns: of the sites.
        cell: lattice vectors as rows, Å.

    Raises:
        RowError: one of them is missing or no number.
    """
    names = FRACTIONAL if FRACTIONAL[0] in columns else CARTESIAN
    found = np.array([[_number(v) for v in columns[name]] for name in names]).T
    bad = np.flatnonzero(np.isnan(found).any(1))
    if len(bad):
        given = " ".join(columns[name][bad[0]] for name in names)
        raise RowError(f"site {bad[0] + 1} has no coordinates, but {given!r}")
    return found if names is FRACTIONAL else found @ np.linalg.inv(cell)


def values_of(columns: Columns) -> dict[str, Float[np.ndarray, " sites"]]:
    """The columns that hold nothing but numbers.

    Args:
        columns: of the sites.
    """
    found: dict[str, Any] = {}
    for name, texts in columns.items():
        numbers = np.array([_number(text) for text in texts])
        if not np.isnan(numbers).any():
            found[name] = numbers
    return found


def _number(text: str) -> float:
    """A number, its uncertainty in brackets left out; NaN for anything else."""
    return cif.as_number(cif.as_string(text) if text[:1] in "'\"" else text)
