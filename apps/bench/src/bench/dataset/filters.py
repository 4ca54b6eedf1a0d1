"""Filters of structures, and recipes for the published subsets."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import sparse

from bench.settings.preparation import Filters, RecipeName
from bench.sources import Row

LOW_SPIN_PATH = "omol/metal_organics/outputs_low_spin_241118/"
"""Path of OMol25's metal complexes in the lowest spin state."""


class Candidates(NamedTuple):
    """Properties of all structures from which a subset is selected.

    Args:
        energies: eV, `(structures,)`; NaN for structures without an energy.
        groups: integer code of the group, `(structures,)`.
        ids: as bytes, `(structures,)`; they break ties.
        counts: number of atoms of each element, `(structures, 119)`.
    """

    energies: np.ndarray
    groups: np.ndarray
    ids: np.ndarray
    counts: sparse.csr_array

    def take(self, rows: np.ndarray) -> "Candidates":
        """Returns a subset of the structures.

        Args:
            rows: their indices.
        """
        counts = sparse.csr_array(self.counts[rows])
        return Candidates(
            self.energies[rows], self.groups[rows], self.ids[rows], counts
        )


def is_low_spin(row: Row) -> bool:
    """Returns whether a row is an OMol25 metal-organic in the lowest spin state.

    Args:
        row: with the path of its calculation under the key `source`.
    """
    return str(row.info.get("source", "")).startswith(LOW_SPIN_PATH)


def is_pristine(row: Row) -> bool:
    """Returns whether an ODAC25 row is a MOF without defects (no "_" in its name).

    Args:
        row: with the name of its MOF under the key `mof_name`.
    """
    return "_" not in str(row.info.get("mof_name", "_"))


def lowest_energy(count: int) -> Callable[[Candidates], np.ndarray]:
    """Returns a filter that keeps the structures of lowest energy in each group.

    Ties are broken by id; structures without an energy are left out.

    Args:
        count: maximum number of structures per group.
    """

    def keep(candidates: Candidates) -> np.ndarray:
        order = np.lexsort((candidates.ids, candidates.energies, candidates.groups))
        groups = candidates.groups[order]
        begins = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])[: len(groups)]
        lengths = np.diff(np.r_[begins, len(groups)])
        rank = np.arange(len(groups)) - np.repeat(begins, lengths)
        mask = np.zeros(len(groups), bool)
        mask[order] = rank < count
        return mask & np.isfinite(candidates.energies)

    return keep


def frequent_elements(least: int) -> Callable[[Candidates], np.ndarray]:
    """Returns a filter that removes structures with rare elements.

    Removing structures can make other elements rare, so it is repeated until no
    element is.

    Args:
        least: minimum number of atoms of an element in all remaining structures.
    """

    def keep(candidates: Candidates) -> np.ndarray:
        mask = np.ones(len(candidates.ids), bool)
        while True:
            totals = candidates.counts[mask].sum(0)
            rare = (totals > 0) & (totals < least)
            if not rare.any():
                return mask
            mask &= candidates.counts[:, np.flatnonzero(rare)].sum(1) == 0

    return keep


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Filters that reproduce a published subset.

    Args:
        summary: description of the subset.
        row_filters: conditions on single rows, by the reason for leaving rows out.
        joint_filters: conditions on all rows together, by reason, in order.
        max_atoms: maximum number of atoms of a structure.
        require: labels that a structure must have.
    """

    summary: str
    row_filters: dict[str, Callable[[Row], bool]]
    joint_filters: dict[str, Callable[[Candidates], np.ndarray]]
    max_atoms: int
    require: tuple[str, ...] = ("energy",)


RARE_ELEMENT = "element with fewer than 10 atoms"

RECIPES: dict[RecipeName, Recipe] = {
    "qmof": Recipe(
        "MOFs of up to 500 atoms with an energy and charges",
        {},
        {RARE_ELEMENT: frequent_elements(10)},
        500,
        ("energy", "charges"),
    ),
    "odac25": Recipe(
        'ten frames of lowest energy of every MOF without "_" in its name, of up to '
        "616 atoms",
        {'"_" in the name of the MOF': is_pristine},
        {
            "not among the ten lowest of its MOF": lowest_energy(10),
            RARE_ELEMENT: frequent_elements(10),
        },
        616,
    ),
    "omol25": Recipe(
        "frame of lowest energy of every low-spin metal-organic, up to 350 atoms",
        {"not a low-spin metal-organic": is_low_spin},
        {
            "not the lowest of its molecule": lowest_energy(1),
            RARE_ELEMENT: frequent_elements(10),
        },
        350,
    ),
}
"""Subsets of the published benchmark by name. That of ODAC25 was selected from
`train/mof`, that of OMol25 from `train_4M`."""


def drop_labels(row: Row, filters: Filters) -> Row:
    """Returns a row without the labels of `filters.without`.

    Args:
        row: as read from the source.
        filters: of the preparation.
    """
    if not filters.without:
        return row
    return row.with_labels(**dict.fromkeys(filters.without))


def exclusion_reason(row: Row, filters: Filters) -> str | None:
    """Returns why a row is left out; None if it is kept.

    Args:
        row: result of `drop_labels`.
        filters: of the preparation.
    """
    recipe = None if filters.recipe is None else RECIPES[filters.recipe]
    limits = [
        m for m in (filters.max_atoms, recipe and recipe.max_atoms) if m is not None
    ]
    if limits and len(row) > min(limits):
        return f"more than {min(limits)} atoms"
    if len(row) < filters.min_atoms:
        return f"fewer than {filters.min_atoms} atoms"
    limit = filters.max_force
    if limit is not None and row.forces is not None:
        largest = np.linalg.norm(row.forces, axis=1).max(initial=0.0)
        if largest > limit:
            return f"a force above {limit:g} eV/Å"
    charges = filters.total_charges
    if charges and (row.total_charge or 0.0) not in charges:
        return "other total charge"
    if filters.spins and row.spin not in filters.spins:
        return "other spin"
    for label in (*filters.require, *(recipe.require if recipe else ())):
        if getattr(row, label) is None:
            return f"no {label}"
    conditions = recipe.row_filters if recipe else {}
    failed = (reason for reason, keep in conditions.items() if not keep(row))
    return next(failed, None)


def select_jointly(
    candidates: Candidates, filters: Filters
) -> tuple[np.ndarray, dict[str, int]]:
    """Applies the filters that depend on all structures.

    Args:
        candidates: structures that passed the filters of single rows.
        filters: of the preparation.

    Returns:
        Indices of the kept structures, and the number of others by reason.
    """
    rows, left_out = np.arange(len(candidates.energies)), {}
    recipe = None if filters.recipe is None else RECIPES[filters.recipe]
    for reason, keep in (recipe.joint_filters if recipe else {}).items():
        selected = rows[keep(candidates.take(rows))]
        left_out[reason] = len(rows) - len(selected)
        rows = selected
    if filters.sample is not None and filters.sample < len(rows):
        by_id = rows[np.argsort(candidates.ids[rows], kind="stable")]
        drawn = np.random.default_rng(0).permutation(len(rows))[: filters.sample]
        left_out["not drawn"] = len(rows) - filters.sample
        rows = np.sort(by_id[drawn])
    return rows, {reason: n for reason, n in left_out.items() if n}
