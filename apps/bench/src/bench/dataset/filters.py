"""Filters of structures, and recipes for the published subsets."""

import dataclasses
import difflib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import sparse

from bench.exceptions import BenchError
from bench.labels import LABELS
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

RECIPES = {
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


@dataclasses.dataclass(frozen=True)
class Filters:
    """Conditions that structures must meet; the default keeps all.

    Args:
        recipe: a key of `RECIPES`, applied in addition to the other filters.
        total_charges: allowed total charges, e; structures without one are neutral. An
            empty tuple allows all.
        spins: allowed multiplicities; structures without one are left out. An empty
            tuple allows all.
        min_atoms: minimum number of atoms of a structure.
        max_atoms: maximum number of atoms of a structure; None means no limit.
        require: labels that a structure must have.
        without: labels that are dropped from the structures.
        sample: number of structures drawn at random after all other filters; the draw
            depends only on their ids. None keeps all.
    """

    recipe: str | None = None
    total_charges: tuple[float, ...] = ()
    spins: tuple[int, ...] = ()
    min_atoms: int = 1
    max_atoms: int | None = None
    require: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    sample: int | None = None

    def __post_init__(self):
        if self.recipe is not None and self.recipe not in RECIPES:
            raise _unknown("recipe", self.recipe, list(RECIPES))
        for label in (*self.require, *self.without):
            if label not in LABELS:
                raise _unknown("label", label, list(LABELS))

    def drop_labels(self, row: Row) -> Row:
        """Returns a row without the labels of `without`.

        Args:
            row: as read from the source.
        """
        if not self.without:
            return row
        return dataclasses.replace(row, **dict.fromkeys(self.without))

    def exclusion_reason(self, row: Row) -> str | None:
        """Returns why a row is left out; None if it is kept.

        Args:
            row: result of `drop_labels`.
        """
        recipe = RECIPES.get(self.recipe or "")
        limits = [
            m for m in (self.max_atoms, recipe and recipe.max_atoms) if m is not None
        ]
        if limits and len(row) > min(limits):
            return f"more than {min(limits)} atoms"
        if len(row) < self.min_atoms:
            return f"fewer than {self.min_atoms} atoms"
        if self.total_charges and (row.total_charge or 0.0) not in self.total_charges:
            return "other total charge"
        if self.spins and row.spin not in self.spins:
            return "other spin"
        for label in (*self.require, *(recipe.require if recipe else ())):
            if getattr(row, label) is None:
                return f"no {label}"
        conditions = recipe.row_filters if recipe else {}
        failed = (reason for reason, keep in conditions.items() if not keep(row))
        return next(failed, None)

    def select(self, candidates: Candidates) -> tuple[np.ndarray, dict[str, int]]:
        """Applies the filters that depend on all structures.

        Args:
            candidates: structures that passed the filters of single rows.

        Returns:
            Indices of the kept structures, and the number of others by reason.
        """
        rows, left_out = np.arange(len(candidates.energies)), {}
        recipe = RECIPES.get(self.recipe or "")
        for reason, keep in (recipe.joint_filters if recipe else {}).items():
            selected = rows[keep(candidates.take(rows))]
            left_out[reason] = len(rows) - len(selected)
            rows = selected
        if self.sample is not None and self.sample < len(rows):
            by_id = rows[np.argsort(candidates.ids[rows], kind="stable")]
            drawn = np.random.default_rng(0).permutation(len(rows))[: self.sample]
            left_out["not drawn"] = len(rows) - self.sample
            rows = np.sort(by_id[drawn])
        return rows, {reason: n for reason, n in left_out.items() if n}


def _unknown(kind: str, name: str, known: list[str]) -> BenchError:
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}."
    return BenchError(f"There is no {kind} {name!r}; {hint}")
