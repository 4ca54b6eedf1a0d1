"""Descriptors of structures, for splits and for the figures of a report."""

import io
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import ase
import numpy as np
import scipy.sparse

# Its entry point names it here.
from chemsplit import mean_soap as mean_soap
from scipy.sparse import csr_matrix

from bench.dataset.opening import Dataset
from bench.exceptions import BenchError, one_line
from bench.execution.announcements import announce
from bench.files import write_bytes
from bench.settings.installed import DESCRIPTORS, load_installed

MAX_DESCRIBED = 4000
"""Largest number of structures in a map of the chemical space; of a larger set, this
many are drawn."""


class Descriptor(Protocol):
    """What an entry point of the group `bench.descriptors` names: a function."""

    def __call__(self, structures: list[ase.Atoms], /) -> Any:
        """Returns an array or sparse matrix of shape (structures, features).

        Similar structures have rows of high cosine similarity.
        """
        ...


def load_descriptor(name: str) -> Descriptor:
    """Returns the descriptor of an installed package.

    Args:
        name: of its entry point, such as `mean-soap`.

    Raises:
        BenchError: there is none, or its package cannot be imported.
    """
    return load_installed(DESCRIPTORS, name)


def descriptors_of(
    data: Dataset, descriptor: Descriptor, rows: np.ndarray | None = None
) -> csr_matrix:
    """Computes one row per structure.

    Args:
        data: data set.
        descriptor: function from structures to rows.
        rows: indices of structures; None for all.

    Raises:
        BenchError: the rows are not finite, or not one per structure.
    """
    samples = data.samples if rows is None else [data.samples[int(i)] for i in rows]
    computed = descriptor([s.to_ase() for s in samples])
    try:
        vectors = csr_matrix(computed)
    except (TypeError, ValueError) as error:
        raise BenchError(
            f"The descriptor returned no matrix of numbers ({one_line(error)})."
        ) from error
    shape: Any = vectors.shape
    if shape[0] != len(samples) or not np.isfinite(vectors.data).all():
        raise BenchError(
            f"The descriptor returned an array of shape {shape} for "
            f"{len(samples)} structures: it must return one finite row for each."
        )
    return vectors


def stored_descriptors(
    data: Dataset, folder: Path, name: str, rows: np.ndarray | None = None
) -> csr_matrix:
    """Loads the descriptors of a data set from a folder, or computes and stores them.

    Args:
        data: data set.
        folder: folder of the stored descriptors.
        name: of the descriptor, such as `mean-soap`.
        rows: indices of structures, determined by their number; None for all.
    """
    path = _path(data, folder, name, rows)
    count = len(data) if rows is None else len(rows)
    vectors = _read_descriptors(path, count) if path.exists() else None
    if vectors is None:
        announce(f"computing descriptors of {count} structures, to be stored")
        vectors = descriptors_of(data, load_descriptor(name), rows)
        content = io.BytesIO()
        scipy.sparse.save_npz(content, vectors)
        write_bytes(path, content.getvalue())
    return vectors


class DescribedStructures(NamedTuple):
    """Structures of a data set with their descriptors: all, or a sample."""

    rows: np.ndarray
    """Indices of the structures, ascending."""
    vectors: csr_matrix
    """One row per structure."""
    total: int
    """Number of structures of the data set."""

    @property
    def note(self) -> str:
        """Names the sample, for captions; empty if it is the whole set."""
        if len(self.rows) == self.total:
            return ""
        return f" ({len(self.rows)} of {self.total} structures, drawn at random)"


def describe_for_report(data: Dataset, folder: Path, name: str) -> DescribedStructures:
    """Returns descriptors of at most `MAX_DESCRIBED` structures.

    Of a larger set the same structures are drawn each time.

    Args:
        data: data set.
        folder: folder of stored descriptors, which are used and completed.
        name: of the descriptor, such as `mean-soap`.
    """
    if len(data) <= MAX_DESCRIBED:
        vectors = stored_descriptors(data, folder, name)
        return DescribedStructures(np.arange(len(data)), vectors, len(data))
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(len(data), MAX_DESCRIBED, replace=False))
    if _path(data, folder, name, None).exists():
        vectors = stored_descriptors(data, folder, name)[rows]
    else:
        vectors = stored_descriptors(data, folder, name, rows)
    return DescribedStructures(rows, csr_matrix(vectors), len(data))


def _path(data: Dataset, folder: Path, name: str, rows: np.ndarray | None) -> Path:
    sample = "" if rows is None else f"-{len(rows)}"
    return folder / f"descriptors-{name}-{data.digest}{sample}.npz"


def _read_descriptors(path: Path, rows: int) -> csr_matrix | None:
    """Loads stored descriptors; None if the file is damaged."""
    try:
        # Opened explicitly, since NumPy does not close a damaged file.
        with path.open("rb") as file:
            vectors = csr_matrix(scipy.sparse.load_npz(file))
        vectors.check_format(full_check=True)
        valid = len(vectors.indptr) == rows + 1 and np.isfinite(vectors.data).all()
    except Exception:  # a damaged zip file raises many types of exceptions
        return None
    return vectors if valid else None
