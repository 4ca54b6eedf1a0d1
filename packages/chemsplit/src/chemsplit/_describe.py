"""Descriptors of many structures: streamed, parallel and resumable."""

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from joblib import Parallel, delayed, parallel_config
from scipy.sparse import csr_matrix, sparray, spmatrix
from tqdm import tqdm

from ._atomic_write import remove_stale_files
from ._column_layout import ColumnLayout, as_elements
from ._geometry import Geometry
from ._ragged_rows import RaggedRows
from ._row_space import check_descriptors
from ._store import load_or_compute

if TYPE_CHECKING:
    from ase import Atoms

# Structures that are computed and stored together.
_CHUNK = 256
# For fewer structures, starting worker processes costs more than it saves.
_MIN_PARALLEL = 32


class Descriptor(Protocol):
    """Interface of descriptors; the `repr` must contain all settings."""

    @property
    def columns(self) -> tuple[int, int]:
        """Number of columns for one element, and for a pair of different elements."""
        ...

    def row(self, geometry: Geometry) -> np.ndarray:
        """Return the columns of a structure's own elements, by ascending pairs."""
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
    """Compute one descriptor row per structure.

    A row is computed for the structure's own elements only, and its blocks are then
    copied to their columns in a sparse row for all of `species`. The result equals
    that of DScribe for all elements at once, with a small part of the memory.
    Structures are read one by one and not stored.

    Parameters
    ----------
    structures : iterable of ase.Atoms
        Structures, in the order of the rows.
    descriptor : MeanSoap, Mbtr, Composition or array
        Descriptor to compute. An array of shape (n_structures, n_features), such as
        learned embeddings, is checked and returned; the other parameters are then
        ignored.
    species : iterable of int or str, default=None
        Elements that the rows have columns for, as atomic numbers or symbols; None for
        those that occur. Rows of two data sets are comparable if it is the same.
    periodic : bool or "auto", default="auto"
        Whether periodic images are included, in all three directions. "auto" follows
        each structure's `pbc` and raises ValueError if only some directions are
        periodic.
    n_jobs : int or None, default=-1
        Number of processes, as in joblib; one for fewer than 32 structures.
    progress : bool, default=True
        Show a progress bar if the output is a terminal.
    store : path-like, default=None
        Folder of computed rows, one file per 256 structures, named by a hash of
        structures and settings. Rows in this folder are not computed again, after an
        interruption or with structures appended. None stores nothing.

    Returns
    -------
    scipy.sparse.csr_matrix of shape (n_structures, n_features), float32
        Descriptors, with columns ordered by pairs of elements, sorted by atomic number;
        `descriptor` itself if it is an array.

    Examples
    --------
    >>> from ase import Atoms
    >>> from chemsplit import Composition
    >>> water = Atoms("OH2", [[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])
    >>> describe([water, water[:1]], Composition(counts=True)).toarray().tolist()
    [[2.0, 1.0], [0.0, 1.0]]
    """
    if isinstance(descriptor, np.ndarray | spmatrix | sparray):
        return _check_one_row_each(descriptor, structures)
    requested = None if species is None else as_elements(species)
    geometries = _geometries(structures, periodic, requested)
    count = len(structures) if isinstance(structures, list | tuple) else None
    folder = None if store is None else Path(store)
    if folder is not None:
        remove_stale_files(folder, ".*.tmp.npz")
    blocks = []
    with tqdm(
        total=count,
        desc=type(descriptor).__name__,
        unit="structure",
        disable=None if progress else True,  # None: only on a terminal
    ) as bar:
        for chunk in itertools.batched(geometries, _CHUNK):
            compute = lambda c=chunk: _compute_rows(c, descriptor, n_jobs, bar)
            blocks.append(load_or_compute(folder, chunk, repr(descriptor), compute))
            bar.n = sum(map(len, blocks))
            bar.refresh()
    if not blocks:
        raise ValueError("There is no structure to describe: `structures` is empty.")
    present = set().union(*(row for block in blocks for row in block.elements))
    elements = requested or as_elements(present)
    return _to_csr(blocks, ColumnLayout(elements, *descriptor.columns))


def _check_one_row_each(array: Any, structures: "Iterable[Atoms]") -> Any:
    array, count = check_descriptors(array), sum(1 for _ in structures)
    if array.shape[0] != count:
        raise ValueError(
            f"The array has {array.shape[0]} rows for {count} structures; give one row "
            "per structure."
        )
    return array


def _geometries(
    structures: "Iterable[Atoms]",
    periodic: bool | Literal["auto"],
    requested: tuple[int, ...] | None,
) -> Iterator[Geometry]:
    """Convert and check the structures, one by one."""
    from ase.data import chemical_symbols

    for index, atoms in enumerate(structures):
        geometry = Geometry.from_ase(atoms, index, periodic)
        missing = set(geometry.elements).difference(requested or geometry.elements)
        if missing:
            raise ValueError(
                f"Structure {index} contains {chemical_symbols[min(missing)]}, "
                "which is not in `species`."
            )
        yield geometry


def _compute_rows(
    chunk: tuple[Geometry, ...], descriptor: Descriptor, n_jobs: int | None, bar: Any
) -> RaggedRows:
    """Compute the rows of a chunk in parallel."""
    n_jobs = n_jobs if len(chunk) >= _MIN_PARALLEL else 1
    with parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = Parallel(n_jobs=n_jobs, return_as="generator")
    rows = []
    for row in parallel(delayed(_row)(descriptor, geometry) for geometry in chunk):
        rows.append(row)
        bar.update()
    return RaggedRows.of(rows, [geometry.elements for geometry in chunk])


def _row(descriptor: Descriptor, geometry: Geometry) -> np.ndarray:
    return descriptor.row(geometry).astype(np.float32)


def _to_csr(blocks: list[RaggedRows], layout: ColumnLayout) -> csr_matrix:
    """Copy the nonzero values of each row to the columns of its elements.

    Blocks are freed one by one, so that memory is needed for little more than the
    result.
    """
    counts = np.concatenate([block.count_nonzero() for block in blocks])
    ends = np.concatenate([[0], np.cumsum(counts)])
    fits_int32 = max(layout.size, ends[-1]) < np.iinfo(np.int32).max
    values = np.empty(ends[-1], dtype=np.float32)
    columns = np.empty(ends[-1], dtype=np.int32 if fits_int32 else np.int64)
    index = 0
    blocks.reverse()
    while blocks:
        for row, elements in blocks.pop():
            nonzero = row != 0
            span = slice(ends[index], ends[index + 1])
            values[span] = row[nonzero]
            columns[span] = layout.columns(elements)[nonzero]
            index += 1
    shape = (len(counts), layout.size)
    return csr_matrix((values, columns, ends), shape=shape)
