"""SOAP vectors averaged over the atoms of each structure."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from joblib import Parallel, delayed, parallel_config
from scipy.sparse import csr_matrix
from tqdm import tqdm

from ._layout import Layout, as_elements

if TYPE_CHECKING:
    from ase import Atoms

# Our name of each compression, and DScribe's.
_MODES = {"off": "off", "same-element": "crossover", "crossover": "crossover"}
# Starting worker processes costs more than describing so few structures.
_WORTH_WORKERS = 32


@dataclass(frozen=True)
class _Settings:
    r_cut: float
    n_max: int
    l_max: int
    sigma: float
    mode: str


@dataclass(frozen=True)
class _Geometry:
    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray | None

    @property
    def elements(self) -> tuple[int, ...]:
        return tuple(np.unique(self.numbers).tolist())


def mean_soap(
    structures: "Iterable[Atoms]",
    *,
    species: Iterable[int | str] | None = None,
    r_cut: float = 4.0,
    n_max: int = 9,
    l_max: int = 9,
    sigma: float = 0.1,
    periodic: bool | Literal["auto"] = "auto",
    compression: Literal["off", "same-element", "crossover"] = "off",
    n_jobs: int | None = -1,
    progress: bool = True,
) -> csr_matrix:
    r"""Describe each structure by its SOAP power spectrum, averaged over its atoms.

    The spectrum of atom :math:`i` is
    :math:`p^{ZZ'}_{nn'l} \sim \sum_m c^{iZ*}_{nlm} c^{iZ'}_{n'lm}`, with the density
    around it expanded in spherical Gaussian-type orbitals; the row is its mean over
    :math:`i` (DScribe's ``average="outer"``). Each structure is described with its own
    elements only and its blocks are put in their place in a row for all of `species`:
    the numbers DScribe would give for all elements at once, without its gigabytes.

    Parameters
    ----------
    structures : iterable of ase.Atoms
        What to describe, one row each, in this order.
    species : iterable of int or str, default=None
        Elements the row has columns for, as atomic numbers or symbols; by default those
        that occur. Give it to make the rows of two data sets comparable.
    r_cut : float, default=4.0
        Cutoff, Å.
    n_max, l_max : int, default=9
        Number of radial functions and highest angular degree.
    sigma : float, default=0.1
        Width of the Gaussian on each atom, Å.
    periodic : bool or "auto", default="auto"
        Whether images of the atoms count, in all three directions. "auto" asks each
        structure's `pbc` and refuses one that is periodic in some directions only.
    compression : {"off", "same-element", "crossover"}, default="off"
        "off" keeps all pairs of elements (what DScribe before version 2 called
        ``crossover=True``). "same-element" keeps only the pairs of an element with
        itself and drops the cross-species terms; "crossover" is what DScribe 2 calls
        the same.
    n_jobs : int or None, default=-1
        Number of processes, as in joblib; fewer than 32 structures use one.
    progress : bool, default=True
        Show a progress bar if the output is a terminal.

    Returns
    -------
    scipy.sparse.csr_matrix of shape (n_structures, n_features), float32
        Columns go by pair of elements, sorted by atomic number.

    References
    ----------
    Bartók, Kondor and Csányi, Phys. Rev. B 87, 184115 (2013).
    Himanen et al., Comput. Phys. Commun. 247, 106949 (2020).

    Examples
    --------
    >>> from ase import Atoms
    >>> water = Atoms("OH2", [[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])
    >>> mean_soap([water, water[:1]], n_max=2, l_max=1).shape
    (2, 20)
    """
    if compression not in _MODES:
        raise ValueError(
            f"`compression` must be one of {', '.join(map(repr, _MODES))}, "
            f"got {compression!r}."
        )
    settings = _Settings(r_cut, n_max, l_max, sigma, _MODES[compression])
    geometries = [_geometry(s, i, periodic) for i, s in enumerate(structures)]
    if not geometries:
        raise ValueError("There is no structure to describe: `structures` is empty.")
    layout = _layout(geometries, species, settings)
    workers = n_jobs if len(geometries) >= _WORTH_WORKERS else 1
    with parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = Parallel(n_jobs=workers, return_as="generator")
    rows: Any = parallel(delayed(_describe)(one, settings) for one in geometries)
    bar = tqdm(
        rows,
        total=len(geometries),
        desc="SOAP",
        unit="structure",
        disable=None if progress else True,  # None: silent unless it is a terminal
    )
    return _assemble(list(bar), geometries, layout)


def _geometry(
    atoms: "Atoms", index: int, periodic: bool | Literal["auto"]
) -> _Geometry:
    """Take the facts SOAP needs from a structure, or say what is wrong with it."""
    from ase import Atoms

    if not isinstance(atoms, Atoms):
        raise TypeError(
            f"`structures` must hold ase.Atoms, entry {index} is a "
            f"{type(atoms).__name__}."
        )
    if len(atoms) == 0:
        raise ValueError(f"Structure {index} has no atoms.")
    if not np.isfinite(atoms.positions).all():
        raise ValueError(f"Structure {index} has a position that is not a number.")
    if (atoms.numbers < 1).any():
        raise ValueError(f"Structure {index} has an atom of no element (number 0).")
    if periodic == "auto":
        if atoms.pbc.any() and not atoms.pbc.all():
            raise ValueError(
                f"Structure {index} is periodic in some directions only "
                f"(pbc = {atoms.pbc.tolist()}); pass periodic=True or periodic=False."
            )
        periodic = bool(atoms.pbc.all())
    if not periodic:
        return _Geometry(atoms.numbers, atoms.positions, None)
    cell = np.asarray(atoms.cell)
    if not abs(np.linalg.det(cell)) > 1e-6:
        raise ValueError(
            f"Structure {index} is to be periodic, but its cell has no volume."
        )
    return _Geometry(atoms.numbers, atoms.positions, cell)


def _layout(
    geometries: list[_Geometry],
    species: Iterable[int | str] | None,
    settings: _Settings,
) -> Layout:
    """Lay out one row for all elements, after checking that none is missing."""
    from ase.data import chemical_symbols

    present = {z for one in geometries for z in one.elements}
    elements = as_elements(present if species is None else species)
    if missing := present.difference(elements):
        index, number = next(
            (i, z)
            for i, one in enumerate(geometries)
            for z in one.elements
            if z in missing
        )
        raise ValueError(
            f"Structure {index} holds {chemical_symbols[number]}, "
            "which is not in `species`."
        )
    return Layout(elements, settings.n_max, settings.l_max, settings.mode == "off")


@functools.lru_cache(maxsize=64)
def _descriptor(elements: tuple[int, ...], settings: _Settings, periodic: bool) -> Any:
    """Set up DScribe for a set of elements; a worker meets the same sets again."""
    from dscribe.descriptors import SOAP

    return SOAP(
        species=elements,
        r_cut=settings.r_cut,
        n_max=settings.n_max,
        l_max=settings.l_max,
        sigma=settings.sigma,
        average="outer",
        periodic=periodic,
        compression={"mode": settings.mode, "species_weighting": None},
    )


def _describe(one: _Geometry, settings: _Settings) -> np.ndarray:
    """Compute the mean spectrum over a structure's own elements."""
    from ase import Atoms

    periodic = one.cell is not None
    atoms = Atoms(one.numbers, one.positions, cell=one.cell, pbc=periodic)
    if periodic:
        atoms.wrap()  # DScribe loses neighbours of atoms far outside the cell
    row = _descriptor(one.elements, settings, periodic).create(atoms)
    return row.astype(np.float32)


def _assemble(
    rows: list[np.ndarray], geometries: list[_Geometry], layout: Layout
) -> csr_matrix:
    """Put each structure's own blocks in their columns, without the zeros."""
    ends = np.cumsum([np.count_nonzero(row) for row in rows])
    starts = np.concatenate([[0], ends])
    values = np.empty(ends[-1], dtype=np.float32)
    small = max(layout.size, ends[-1]) < np.iinfo(np.int32).max
    columns = np.empty(ends[-1], dtype=np.int32 if small else np.int64)
    for i, one in enumerate(geometries):
        filled = rows[i] != 0
        values[starts[i] : ends[i]] = rows[i][filled]
        columns[starts[i] : ends[i]] = layout.columns(one.elements)[filled]
    shape = (len(rows), layout.size)
    return csr_matrix((values, columns, starts), shape=shape)
