"""Descriptors of many structures: streamed, on all cores, resumable."""

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from joblib import Parallel, delayed, parallel_config
from scipy.sparse import csr_matrix, sparray, spmatrix
from tqdm import tqdm

from ._coordinates import as_rows
from ._draft import sweep
from ._geometry import Geometry
from ._layout import Layout, as_elements
from ._rows import Rows
from ._store import stored

if TYPE_CHECKING:
    from ase import Atoms

# Structures described, and stored, together.
_CHUNK = 256
# Starting worker processes costs more than describing so few structures.
_WORTH_WORKERS = 32


class Descriptor(Protocol):
    """What `describe` can compute: settings, with a `repr` that tells them."""

    @property
    def columns(self) -> tuple[int, int]:
        """Columns for an element with itself, and for two elements."""
        ...

    def row(self, geometry: Geometry) -> np.ndarray:
        """Compute the columns of a structure's own elements, by ascending pairs."""
        ...


def describe(
    structures: "Iterable[Atoms]",
    descriptor: Descriptor | np.ndarray | spmatrix | sparray,
    *,
    species: Iterable[int | str] | None = None,
    periodic: bool | Literal["auto"] = "auto",
    n_jobs: int | None = -1,
    progress: bool = True,
    store: str | os.PathLike[str] | None = None,
) -> Any:
    """Describe each structure by one row.

    Each structure is described with its own elements only and its blocks are put in
    their place in a row for all of `species`: the numbers that DScribe would give for
    all elements at once, without its gigabytes. Structures are taken one after the
    other and not kept.

    Parameters
    ----------
    structures : iterable of ase.Atoms
        What to describe, one row each, in this order.
    descriptor : MeanSoap, Mbtr, Composition or array
        What to compute. An array of shape (n_structures, n_features), such as learned
        embeddings or similarities to chosen structures, is checked and returned;
        nothing else then matters.
    species : iterable of int or str, default=None
        Elements the row has columns for, as atomic numbers or symbols; by default those
        that occur. Give it to make the rows of two data sets comparable.
    periodic : bool or "auto", default="auto"
        Whether images of the atoms count, in all three directions. "auto" asks each
        structure's `pbc` and refuses one that is periodic in some directions only.
    n_jobs : int or None, default=-1
        Number of processes, as in joblib; fewer than 32 structures use one.
    progress : bool, default=True
        Show a progress bar if the output is a terminal.
    store : path-like, default=None
        Folder to keep finished rows in, a file for every 256 structures, named by a
        hash of structures and settings. A call that finds its rows there, after an
        interruption or with structures added at the end, does not compute them again.

    Returns
    -------
    scipy.sparse.csr_matrix of shape (n_structures, n_features), float32
        Columns go by pair of elements, sorted by atomic number. Of an array, itself.

    Examples
    --------
    >>> from ase import Atoms
    >>> from chemsplit import Composition
    >>> water = Atoms("OH2", [[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])
    >>> describe([water, water[:1]], Composition(counts=True)).toarray().tolist()
    [[2.0, 1.0], [0.0, 1.0]]
    """
    if isinstance(descriptor, np.ndarray | spmatrix | sparray):
        return _one_row_each(descriptor, structures)
    known = None if species is None else as_elements(species)
    geometries = _checked(structures, periodic, known)
    count = len(structures) if isinstance(structures, list | tuple) else None
    folder = None if store is None else Path(store)
    if folder is not None:
        sweep(folder, ".*.tmp.npz")
    blocks = []
    with tqdm(
        total=count,
        desc=type(descriptor).__name__,
        unit="structure",
        disable=None if progress else True,  # None: silent unless it is a terminal
    ) as bar:
        for chunk in itertools.batched(geometries, _CHUNK):
            compute = lambda c=chunk: _described(c, descriptor, n_jobs, bar)
            blocks.append(stored(folder, chunk, repr(descriptor), compute))
            bar.n = sum(map(len, blocks))
            bar.refresh()
    if not blocks:
        raise ValueError("There is no structure to describe: `structures` is empty.")
    present = set().union(*(one for block in blocks for one in block.elements))
    return _assembled(
        blocks, Layout(known or as_elements(present), *descriptor.columns)
    )


def _one_row_each(array: Any, structures: "Iterable[Atoms]") -> Any:
    array, count = as_rows(array), sum(1 for _ in structures)
    if array.shape[0] != count:
        raise ValueError(
            f"The array has {array.shape[0]} rows for {count} structures; give one "
            "row for each."
        )
    return array


def _checked(
    structures: "Iterable[Atoms]",
    periodic: bool | Literal["auto"],
    known: tuple[int, ...] | None,
) -> Iterator[Geometry]:
    """Check the structures as they come."""
    from ase.data import chemical_symbols

    for index, atoms in enumerate(structures):
        geometry = Geometry.of(atoms, index, periodic)
        missing = set(geometry.elements).difference(known or geometry.elements)
        if missing:
            raise ValueError(
                f"Structure {index} holds {chemical_symbols[min(missing)]}, "
                "which is not in `species`."
            )
        yield geometry


def _described(
    chunk: tuple[Geometry, ...], descriptor: Descriptor, n_jobs: int | None, bar: Any
) -> Rows:
    """Compute the rows of a chunk on all cores."""
    workers = n_jobs if len(chunk) >= _WORTH_WORKERS else 1
    with parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = Parallel(n_jobs=workers, return_as="generator")
    rows = []
    for row in parallel(delayed(_row)(descriptor, one) for one in chunk):
        rows.append(row)
        bar.update()
    return Rows.of(rows, [one.elements for one in chunk])


def _row(descriptor: Descriptor, geometry: Geometry) -> np.ndarray:
    return descriptor.row(geometry).astype(np.float32)


def _assembled(blocks: list[Rows], layout: Layout) -> csr_matrix:
    """Put each structure's own blocks in their columns, without the zeros.

    The blocks are given up one by one, so that memory holds the result and little more.
    """
    counts = np.concatenate([block.counts() for block in blocks])
    ends = np.concatenate([[0], np.cumsum(counts)])
    small = max(layout.size, ends[-1]) < np.iinfo(np.int32).max
    values = np.empty(ends[-1], dtype=np.float32)
    columns = np.empty(ends[-1], dtype=np.int32 if small else np.int64)
    at = 0
    blocks.reverse()
    while blocks:
        for row, elements in blocks.pop():
            filled = row != 0
            span = slice(ends[at], ends[at + 1])
            values[span] = row[filled]
            columns[span] = layout.columns(elements)[filled]
            at += 1
    shape = (len(counts), layout.size)
    return csr_matrix((values, columns, ends), shape=shape)
