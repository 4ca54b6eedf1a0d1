"""Which structures of a source are used: filters of rows, and the published subsets."""

import dataclasses
import difflib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import sparse

from bench.exceptions import BenchError
from bench.labels import LABELS
from bench.sources import Row

LOW_SPIN = "omol/metal_organics/outputs_low_spin_241118/"
"""Where OMol25 keeps its metal complexes in the lowest spin state."""


class Overview(NamedTuple):
    """What a choice among all structures is made from.

    Args:
        energies: eV; NaN where there is none.
        groups: the same number for structures of one group.
        ids: of structures; they decide ties.
        counts: atoms of each element, `(structures, 119)`.
    """

    energies: np.ndarray
    groups: np.ndarray
    ids: np.ndarray
    counts: sparse.csr_array

    def take(self, rows: np.ndarray) -> "Overview":
        """Some structures.

        Args:
            rows: their indices.
        """
        counts = sparse.csr_array(self.counts[rows])
        return Overview(self.energies[rows], self.groups[rows], self.ids[rows], counts)


def low_spin(row: Row) -> bool:
    """Whether it is one of OMol25's metal-organics in the lowest spin state.

    Args:
        row: with the path of its calculation, `source`.
    """
    return str(row.info.get("source", "")).startswith(LOW_SPIN)


def pristine(row: Row) -> bool:
    """Whether the name of its MOF has no "_": defective frameworks of ODAC have one.

    Args:
        row: with the name of its MOF, `mof_name`.
    """
    return "_" not in str(row.info.get("mof_name", "_"))


def lowest_energy(count: int) -> Callable[[Overview], np.ndarray]:
    """Keeps the structures of lowest energy in each group, in ties the first by id.

    Args:
        count: structures of a group at most; those without an energy are left out.
    """

    def keep(everyone: Overview) -> np.ndarray:
        order = np.lexsort((everyone.ids, everyone.energies, everyone.groups))
        groups = everyone.groups[order]
        begins = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])[: len(groups)]
        lengths = np.diff(np.r_[begins, len(groups)])
        rank = np.arange(len(groups)) - np.repeat(begins, lengths)
        kept = np.zeros(len(groups), bool)
        kept[order] = rank < count
        return kept & np.isfinite(everyone.energies)

    return keep


def frequent_elements(least: int) -> Callable[[Overview], np.ndarray]:
    """Leaves out structures with an element that has few atoms in all that is kept.

    Leaving some out makes other elements rarer; this goes on until none is too rare.

    Args:
        least: atoms of an element.
    """

    def keep(everyone: Overview) -> np.ndarray:
        kept = np.ones(len(everyone.ids), bool)
        while True:
            totals = everyone.counts[kept].sum(0)
            rare = (totals > 0) & (totals < least)
            if not rare.any():
                return kept
            kept &= everyone.counts[:, np.flatnonzero(rare)].sum(1) == 0

    return keep


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A published subset.

    Args:
        summary: what it keeps.
        rows: conditions on one row, by what is said of those left out.
        chosen: conditions on all rows together, in order.
        max_atoms: of a structure.
        require: labels that a structure must have.
    """

    summary: str
    rows: dict[str, Callable[[Row], bool]]
    chosen: dict[str, Callable[[Overview], np.ndarray]]
    max_atoms: int
    require: tuple[str, ...] = ("energy",)


RARE = "element with fewer than 10 atoms"

RECIPES = {
    "qmof": Recipe(
        "MOFs of up to 500 atoms with an energy and charges",
        {},
        {RARE: frequent_elements(10)},
        500,
        ("energy", "charges"),
    ),
    "odac25": Recipe(
        'ten frames of lowest energy of every MOF without "_" in its name, of up to '
        "616 atoms",
        {'"_" in the name of the MOF': pristine},
        {
            "not among the ten lowest of its MOF": lowest_energy(10),
            RARE: frequent_elements(10),
        },
        616,
    ),
    "omol25": Recipe(
        "frame of lowest energy of every low-spin metal-organic, up to 350 atoms",
        {"not a low-spin metal-organic": low_spin},
        {
            "not the lowest of its molecule": lowest_energy(1),
            RARE: frequent_elements(10),
        },
        350,
    ),
}
"""Subsets of the published benchmark by name. ODAC25's was taken from `train/mof`,
OMol25's from `train_4M`."""


@dataclasses.dataclass(frozen=True)
class Filters:
    """Which structures are kept; whatever is not said keeps all.

    Args:
        recipe: a key of `RECIPES`, on top of the rest.
        total_charges: e; a structure whose source says none counts as neutral.
        spins: multiplicities; a structure whose source says none has none of them.
        min_atoms: of a structure.
        max_atoms: of a structure.
        require: labels that a structure must have.
        without: labels that are left out of what is kept.
        sample: structures drawn at random of what all the rest keeps; the draw
            depends on their ids alone.
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

    def trimmed(self, row: Row) -> Row:
        """A row without the labels that are left out.

        Args:
            row: of the source.
        """
        if not self.without:
            return row
        return dataclasses.replace(row, **dict.fromkeys(self.without))

    def complaint(self, row: Row) -> str | None:
        """Why a row is left out; None if it is kept.

        Args:
            row: of the source, trimmed.
        """
        recipe = RECIPES.get(self.recipe or "")
        most = [
            m for m in (self.max_atoms, recipe and recipe.max_atoms) if m is not None
        ]
        if most and len(row) > min(most):
            return f"more than {min(most)} atoms"
        if len(row) < self.min_atoms:
            return f"fewer than {self.min_atoms} atoms"
        if self.total_charges and (row.total_charge or 0.0) not in self.total_charges:
            return "other total charge"
        if self.spins and row.spin not in self.spins:
            return "other spin"
        for label in (*self.require, *(recipe.require if recipe else ())):
            if getattr(row, label) is None:
                return f"no {label}"
        conditions = recipe.rows if recipe else {}
        return next((why for why, keep in conditions.items() if not keep(row)), None)

    def choose(self, everyone: Overview) -> tuple[np.ndarray, dict[str, int]]:
        """Indices of the structures that are kept, and how many were not and why.

        Args:
            everyone: all structures that no row's condition left out.
        """
        kept, left_out = np.arange(len(everyone.energies)), {}
        recipe = RECIPES.get(self.recipe or "")
        for why, keep in (recipe.chosen if recipe else {}).items():
            chosen = kept[keep(everyone.take(kept))]
            left_out[why] = len(kept) - len(chosen)
            kept = chosen
        if self.sample is not None and self.sample < len(kept):
            by_id = kept[np.argsort(everyone.ids[kept], kind="stable")]
            drawn = np.random.default_rng(0).permutation(len(kept))[: self.sample]
            left_out["not drawn"] = len(kept) - self.sample
            kept = np.sort(by_id[drawn])
        return kept, {why: n for why, n in left_out.items() if n}


def _unknown(kind: str, name: str, known: list[str]) -> BenchError:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
    return BenchError(f"There is no {kind} {name!r}; {hint}")
