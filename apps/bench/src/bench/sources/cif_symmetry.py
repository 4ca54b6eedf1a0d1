"""Symmetry operations of a CIF, listed or from its space group."""

import functools
from collections.abc import Iterable
from typing import Any, cast

import gemmi
import numpy as np
from ase.geometry import cell_to_cellpar
from gemmi import cif
from jaxtyping import Float

from bench.sources.row import RowError

OPERATION_TAGS = (
    "_space_group_symop_operation_xyz",
    "_space_group_symop.operation_xyz",
    "_symmetry_equiv_pos_as_xyz",
    "_symmetry_equiv.pos_as_xyz",
)
NAME_TAGS = (
    "_space_group_name_H-M_alt",
    "_symmetry_space_group_name_H-M",
    "_space_group.name_H-M_alt",
    "_symmetry.space_group_name_H-M",
    "_space_group_name_H-M_full",
    "_space_group.name_H-M_full",
)
HALL_TAGS = (
    "_space_group_name_Hall",
    "_symmetry_space_group_name_Hall",
    "_space_group.name_Hall",
)
NUMBER_TAGS = (
    "_space_group_IT_number",
    "_symmetry_Int_Tables_number",
    "_space_group.IT_number",
    "_symmetry.Int_Tables_number",
)
CRYSTAL_SYSTEM_TAGS = {
    "_symmetry_cell_setting",
    "_space_group_crystal_system",
    "_space_group.crystal_system",
}
"""Tags that name a crystal system, which determines no operations."""

METRIC_TOLERANCE = 0.02
"""Tolerated change of the metric tensor by an operation, relative to its maximum."""

MAX_OPERATIONS = 1000
Operations = tuple[gemmi.Op, ...]
Cell = Float[np.ndarray, "3 3"]


def symmetry_operations(block: cif.Block, cell: Cell) -> Operations:
    """Returns the operations that a block lists, or those of its space group.

    Args:
        block: data block of a CIF.
        cell: lattice vectors as rows, Å.

    Raises:
        RowError: the operations are not a group, contradict the space group or the
            cell, or are ambiguous.
    """
    listed = _listed_operations(block)
    space_group = _space_group(block, cell)
    if listed:
        _check_space_group(listed, space_group)
        operations = listed
    else:
        operations = _operations_of_group(block, space_group, cell)
    metric = cell @ cell.T
    for operation in operations:
        rotation = np.array(operation.rot) / gemmi.Op.DEN
        change = np.abs(rotation.T @ metric @ rotation - metric).max()
        if change > METRIC_TOLERANCE * metric.max():
            raise RowError(
                f"its cell does not have the symmetry {operation.triplet()} of its "
                "space group: correct one of them"
            )
    return operations


def first_value(block: cif.Block, tags: tuple[str, ...]) -> str | None:
    """Returns the value of the first tag that has one; None if no tag has one.

    Args:
        block: data block of a CIF.
        tags: tags in order of preference.
    """
    for tag in tags:
        value = block.find_value(tag)
        if value is not None and not cif.is_null(value):
            return cif.as_string(value).strip() or None
    return None


def _listed_operations(block: cif.Block) -> Operations:
    for tag in OPERATION_TAGS:
        values = [v for v in block.find_values(tag) if not cif.is_null(v)]
        if values:
            # Without quotes, "x, y, z" is three values.
            triplets = ["".join(cif.as_string(v).split()) for v in values]
            return _parse_operations(
                tuple(" ".join(triplets).replace(", ", ",").split())
            )
    return ()


@functools.lru_cache(64)
def _parse_operations(triplets: tuple[str, ...]) -> Operations:
    """Parses operations and checks that they form a group."""
    if len(triplets) > MAX_OPERATIONS:
        raise RowError(f"its symmetry has more than {MAX_OPERATIONS} operations")
    try:
        listed = {gemmi.Op(t).wrap().triplet(): gemmi.Op(t).wrap() for t in triplets}
    except RuntimeError as error:
        raise RowError(f"a symmetry operation cannot be parsed: {error}") from None
    operations = tuple(listed.values())
    rotations, shifts = _seitz(operations)
    keys = _keys(rotations, shifts)
    products = np.einsum("aij,bjk->abik", rotations, rotations)
    product_shifts = np.einsum("aij,bj->abi", rotations, shifts) + shifts[:, None]
    product_keys = _keys(products.reshape(-1, 3, 3), product_shifts.reshape(-1, 3))
    is_closed = set(product_keys) == set(keys) and "x,y,z" in listed
    if not is_closed or (np.abs(np.linalg.det(rotations)).round() != 1).any():
        raise RowError(
            f"the {len(operations)} operations of its symmetry are not a group: list "
            "all of them, including centering translations"
        )
    return operations


def _seitz(operations: Operations) -> tuple[np.ndarray, np.ndarray]:
    """Returns rotation matrices, and translations in units of 1 / `Op.DEN`."""
    rotations = np.array([o.rot for o in operations]) // gemmi.Op.DEN
    return rotations, np.array([o.tran for o in operations])


def _keys(rotations: np.ndarray, shifts: np.ndarray) -> list[bytes]:
    rows = np.concatenate([rotations.reshape(-1, 9), shifts % gemmi.Op.DEN], axis=1)
    return [row.tobytes() for row in rows.astype(np.int64)]


def _space_group(block: cif.Block, cell: Cell) -> gemmi.SpaceGroup | None:
    """Returns the space group by name or number; None if it is missing or unknown."""
    name, number = first_value(block, NAME_TAGS), first_value(block, NUMBER_TAGS)
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


def _check_space_group(
    listed: Operations, space_group: gemmi.SpaceGroup | None
) -> None:
    """Checks that operations are those of the space group that the block names.

    In a setting without a table, only the number of rotations is compared, which does
    not depend on the choice of axes and origin.
    """
    if space_group is None:
        return
    actual = gemmi.find_spacegroup_by_ops(gemmi.GroupOps(list(listed)))
    rotations = {str(o.rot) for o in listed}
    expected = {str(o.rot) for o in space_group.operations().sym_ops}
    contradicts = actual is not None and actual.number != space_group.number
    if contradicts or len(rotations) != len(expected):
        actual_name = f"those of {actual.xhm()}" if actual else "of another group"
        raise RowError(
            f"it names the space group {space_group.xhm()}, but its {len(listed)} "
            f"operations are {actual_name}: correct one of them"
        )


def _operations_of_group(
    block: cif.Block, space_group: gemmi.SpaceGroup | None, cell: Cell
) -> Operations:
    """Returns the operations of a space group given by name, number or Hall symbol."""
    hall, name = first_value(block, HALL_TAGS), first_value(block, NAME_TAGS)
    if hall is not None:
        return _operations_of_hall(hall, space_group)
    if space_group is None:
        if name is None:
            _check_no_other_tags(block)
            return (gemmi.Op("x,y,z"),)
        raise RowError(
            f"it lists no operations and its space group {name!r} is unknown: list the "
            "operations"
        )
    if gemmi.find_spacegroup_by_name(name or "") is None:
        return _operations_of_number(space_group.number, cell)
    if space_group.ext in ("1", "2") and ":" not in (name or ""):
        raise RowError(
            f"it lists no operations, and the space group {name} has two choices of "
            "origin: list the operations, or add :1 or :2 to the name"
        )
    return tuple(space_group.operations())


def _check_no_other_tags(block: cif.Block) -> None:
    """Checks that no other tags give the symmetry, such as magnetic operations."""
    for item in cast(Iterable[Any], block):
        tags = item.loop.tags if item.loop else [item.pair[0]] if item.pair else ()
        for tag in tags:
            is_symmetry = tag.lower().startswith(("_space_group", "_symmetry"))
            if not is_symmetry or tag.lower() in CRYSTAL_SYSTEM_TAGS:
                continue
            if not all(map(cif.is_null, block.find_values(tag))):
                raise RowError(
                    f"it gives its symmetry by {tag} alone, which is not read: list "
                    f"the operations as {OPERATION_TAGS[0]}"
                )


def _operations_of_number(number: int, cell: Cell) -> Operations:
    """Returns the operations of the only setting that is compatible with the cell."""
    unit_cell = gemmi.UnitCell(*cell_to_cellpar(cell))
    settings = [
        g
        for g in gemmi.spacegroup_table()
        if g.number == number
        and unit_cell.is_compatible_with_spacegroup(g, METRIC_TOLERANCE)
    ]
    if len(settings) != 1:
        raise RowError(
            f"it lists no operations, and {len(settings)} settings of the space group "
            f"number {number} are compatible with its cell: list the operations"
        )
    return tuple(settings[0].operations())


def _operations_of_hall(hall: str, space_group: gemmi.SpaceGroup | None) -> Operations:
    try:
        operations = tuple(gemmi.symops_from_hall(hall))
    except RuntimeError as error:
        raise RowError(
            f"it lists no operations and its Hall symbol {hall!r} cannot be "
            f"parsed ({error}): list the operations"
        ) from None
    _check_space_group(operations, space_group)
    return operations
