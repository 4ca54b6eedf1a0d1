"""Symmetry of a CIF: its operations, and the atoms that they make of its sites."""

import functools
from collections.abc import Iterable
from typing import Any, cast

import gemmi
import numpy as np
from ase.geometry import cell_to_cellpar
from gemmi import cif
from jaxtyping import Float, Int

from bench.sources.row import RowError

OPERATIONS = (
    "_space_group_symop_operation_xyz",
    "_space_group_symop.operation_xyz",
    "_symmetry_equiv_pos_as_xyz",
    "_symmetry_equiv.pos_as_xyz",
)
NAMES = (
    "_space_group_name_H-M_alt",
    "_symmetry_space_group_name_H-M",
    "_space_group.name_H-M_alt",
    "_symmetry.space_group_name_H-M",
    "_space_group_name_H-M_full",
    "_space_group.name_H-M_full",
)
HALL = (
    "_space_group_name_Hall",
    "_symmetry_space_group_name_Hall",
    "_space_group.name_Hall",
)
NUMBERS = (
    "_space_group_IT_number",
    "_symmetry_Int_Tables_number",
    "_space_group.IT_number",
    "_symmetry.Int_Tables_number",
)
WITHOUT_OPERATIONS = {
    "_symmetry_cell_setting",
    "_space_group_crystal_system",
    "_space_group.crystal_system",
}
"""Tags that determine no operation: the cell has whatever symmetry it has."""

SAME_PLACE = 0.05
"""Å; images of a site that lie closer are one atom on a symmetry element."""

TOO_CLOSE = 0.4
"""Å; images of a site that lie closer, but are not one atom, stand for disorder."""

STRAIN = 0.02
"""How much the operations may change the cell's metric, of its largest entry."""

MOST_OPERATIONS = 1000
MOST_IMAGES = 2_000_000
"""Of all sites together; more of them are a damaged file."""

Operations = tuple[gemmi.Op, ...]
Cell = Float[np.ndarray, "3 3"]


def operations_of(block: cif.Block, cell: Cell) -> Operations:
    """The operations that a block lists, or those of the space group that it names.

    Args:
        block: of a CIF.
        cell: lattice vectors as rows, Å.

    Raises:
        RowError: they are no group, contradict the space group, do not go with the
            cell, or are not determined by what is named.
    """
    listed = _listed(block)
    named = _named(block, cell)
    if listed:
        _check_name(listed, named)
        operations = listed
    else:
        operations = _of_group(block, named, cell)
    metric = cell @ cell.T
    for operation in operations:
        rotation = np.array(operation.rot) / gemmi.Op.DEN
        change = np.abs(rotation.T @ metric @ rotation - metric).max()
        if change > STRAIN * metric.max():
            raise RowError(
                f"its cell does not have the symmetry {operation.triplet()} of its "
                "space group: correct one of them"
            )
    return operations


def expand(
    fractional: Float[np.ndarray, "sites 3"], operations: Operations, cell: Cell
) -> tuple[Float[np.ndarray, "atoms 3"], Int[np.ndarray, " atoms"]]:
    """All atoms of the cell, and the site that each of them is an image of.

    Args:
        fractional: coordinates of the sites.
        operations: of the space group, the identity among them.
        cell: lattice vectors as rows, Å.

    Returns:
        Fractional coordinates from 0 to 1, site by site, and indices of sites.

    Raises:
        RowError: a site lies so close to its own image that both cannot be there.
    """
    if len(fractional) * len(operations) > MOST_IMAGES:
        raise RowError(
            f"its symmetry has {len(operations)} images of {len(fractional)} sites, "
            f"more than {MOST_IMAGES}"
        )
    rotations = np.array([o.rot for o in operations]) / gemmi.Op.DEN
    shifts = np.array([o.tran for o in operations]) / gemmi.Op.DEN
    images = np.einsum("oij,sj->soi", rotations, fractional) + shifts
    distances = _distances(images - fractional[:, None], cell)
    apart = (distances > SAME_PLACE) & (distances < TOO_CLOSE)
    if apart.any():
        site = int(np.flatnonzero(apart.any(1))[0])
        raise RowError(
            f"site {site + 1} lies {distances[site][apart[site]].min():.2f} Å from its "
            "own symmetric image: it is disordered, or its coordinates have too few "
            "digits; give ordered structures"
        )
    images %= 1.0
    special = (distances <= SAME_PLACE).sum(1) > 1
    kept = np.ones(distances.shape, bool)
    for site in np.flatnonzero(special):
        own = images[site]
        same = _distances(own[:, None] - own[None], cell) <= SAME_PLACE
        kept[site] = ~np.tril(same, -1).any(1)
    return images[kept], np.nonzero(kept)[0]


def _distances(differences: np.ndarray, cell: Cell) -> np.ndarray:
    """Å, to the image that is nearest in fractional coordinates: exact where short."""
    return np.linalg.norm((differences - np.round(differences)) @ cell, axis=-1)


def text_of(block: cif.Block, tags: tuple[str, ...]) -> str | None:
    """The value of the first tag that has one.

    Args:
        block: of a CIF.
        tags: which.
    """
    for tag in tags:
        value = block.find_value(tag)
        if value is not None and not cif.is_null(value):
            return cif.as_string(value).strip() or None
    return None


def _listed(block: cif.Block) -> Operations:
    for tag in OPERATIONS:
        values = [v for v in block.find_values(tag) if not cif.is_null(v)]
        if values:
            # Without quotes "x, y, z" is three values.
            plain = ["".join(cif.as_string(v).split()) for v in values]
            return _group(tuple(" ".join(plain).replace(", ", ",").split()))
    return ()


@functools.lru_cache(64)
def _group(triplets: tuple[str, ...]) -> Operations:
    """Operations that are checked to be a group."""
    if len(triplets) > MOST_OPERATIONS:
        raise RowError(f"its symmetry has more than {MOST_OPERATIONS} operations")
    try:
        listed = {gemmi.Op(t).wrap().triplet(): gemmi.Op(t).wrap() for t in triplets}
    except RuntimeError as error:
        raise RowError(f"an operation of its symmetry is unreadable: {error}") from None
    operations = tuple(listed.values())
    rotations, shifts = _seitz(operations)
    known = _keys(rotations, shifts)
    products = np.einsum("aij,bjk->abik", rotations, rotations)
    moved = np.einsum("aij,bj->abi", rotations, shifts) + shifts[:, None]
    both = _keys(products.reshape(-1, 3, 3), moved.reshape(-1, 3))
    whole = set(both) == set(known) and "x,y,z" in listed
    if not whole or (np.abs(np.linalg.det(rotations)).round() != 1).any():
        raise RowError(
            f"the {len(operations)} operations of its symmetry are no group: list all "
            "of them, centring included"
        )
    return operations


def _seitz(operations: Operations) -> tuple[np.ndarray, np.ndarray]:
    rotations = np.array([o.rot for o in operations]) // gemmi.Op.DEN
    return rotations, np.array([o.tran for o in operations])


def _keys(rotations: np.ndarray, shifts: np.ndarray) -> list[bytes]:
    rows = np.concatenate([rotations.reshape(-1, 9), shifts % gemmi.Op.DEN], axis=1)
    return [row.tobytes() for row in rows.astype(np.int64)]


def _named(block: cif.Block, cell: Cell) -> gemmi.SpaceGroup | None:
    """The space group that the block names, None where it names none that is known."""
    name, number = text_of(block, NAMES), text_of(block, NUMBERS)
    *_, alpha, _, gamma = cell_to_cellpar(cell)
    group = gemmi.find_spacegroup_by_name(name, alpha, gamma) if name else None
    if number is None:
        return group
    if not number.isdecimal() or not 1 <= int(number) <= 230:
        raise RowError(f"its space group has the number {number!r}, not 1 to 230")
    if group is None:
        return gemmi.find_spacegroup_by_number(int(number))
    if group.number != int(number):
        raise RowError(
            f"its space group is {name} by name, which is {group.number}, but has the "
            f"number {number}: correct one of them"
        )
    return group


def _check_name(listed: Operations, named: gemmi.SpaceGroup | None) -> None:
    """Refuses operations that are not of the space group that the same block names.

    Operations of a setting that is in no table are compared by their number of
    rotations, which no choice of axes and origin changes.
    """
    if named is None:
        return
    found = gemmi.find_spacegroup_by_ops(gemmi.GroupOps(list(listed)))
    rotations = {str(o.rot) for o in listed}
    expected = {str(o.rot) for o in named.operations().sym_ops}
    wrong = found is not None and found.number != named.number
    if wrong or len(rotations) != len(expected):
        found_name = f"those of {found.xhm()}" if found else "of another group"
        raise RowError(
            f"it names the space group {named.xhm()}, but its {len(listed)} operations "
            f"are {found_name}: correct one of them"
        )


def _of_group(
    block: cif.Block, named: gemmi.SpaceGroup | None, cell: Cell
) -> Operations:
    """The operations of a space group of which only names are given."""
    hall, name = text_of(block, HALL), text_of(block, NAMES)
    if hall is not None:
        return _of_hall(hall, named)
    if named is None:
        if name is None:
            _check_nothing_said(block)
            return (gemmi.Op("x,y,z"),)
        raise RowError(
            f"it lists no operations and its space group {name!r} is unknown: list the "
            "operations"
        )
    if gemmi.find_spacegroup_by_name(name or "") is None:
        return _of_number(named.number, cell)
    if named.ext in ("1", "2") and ":" not in (name or ""):
        raise RowError(
            f"it lists no operations, and the space group {name} has two choices of "
            "origin: list the operations, or add :1 or :2 to the name"
        )
    return tuple(named.operations())


def _check_nothing_said(block: cif.Block) -> None:
    """Refuses symmetry under tags that are not read, such as magnetic operations."""
    for item in cast(Iterable[Any], block):
        tags = item.loop.tags if item.loop else [item.pair[0]] if item.pair else ()
        for tag in tags:
            about = tag.lower().startswith(("_space_group", "_symmetry"))
            if not about or tag.lower() in WITHOUT_OPERATIONS:
                continue
            if not all(map(cif.is_null, block.find_values(tag))):
                raise RowError(
                    f"it gives its symmetry by {tag} alone, which is not read: list "
                    f"the operations as {OPERATIONS[0]}"
                )


def _of_number(number: int, cell: Cell) -> Operations:
    """The operations of the one setting of a number that the cell allows."""
    own = gemmi.UnitCell(*cell_to_cellpar(cell))
    settings = [
        g
        for g in gemmi.spacegroup_table()
        if g.number == number and own.is_compatible_with_spacegroup(g, STRAIN)
    ]
    if len(settings) != 1:
        raise RowError(
            f"it lists no operations, and {len(settings)} settings of the space group "
            f"number {number} go with its cell: list the operations"
        )
    return tuple(settings[0].operations())


def _of_hall(hall: str, named: gemmi.SpaceGroup | None) -> Operations:
    try:
        operations = tuple(gemmi.symops_from_hall(hall))
    except RuntimeError as error:
        raise RowError(
            f"it lists no operations and its Hall symbol {hall!r} is unreadable "
            f"({error}): list the operations"
        ) from None
    _check_name(operations, named)
    return operations
