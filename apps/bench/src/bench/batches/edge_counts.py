"""Numbers of edges of all structures of a dataset, stored beside a prepared one."""

import concurrent.futures
import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from backbones import count_edges

from bench.batches.worker_pool import map_ahead
from bench.dataset.columns import Columns
from bench.dataset.opening import Dataset
from bench.exceptions import one_line
from bench.execution.announcements import announce
from bench.files import write_bytes

BLOCK = 1024
"""Structures per task of the processes that count edges."""


class EdgeCounts(NamedTuple):
    """Numbers of edges and of triplets of each structure, `(structures,)`."""

    edges: np.ndarray
    triplets: np.ndarray


def load_edge_counts(
    data: Dataset, cutoff: float, pool: concurrent.futures.Executor | None = None
) -> EdgeCounts:
    """Returns the edge counts of all samples; those of a prepared set are stored.

    A stored file of other data or another cutoff, or a damaged one, is not used.

    Args:
        data: dataset.
        cutoff: Å.
        pool: processes that count edges; None counts in this process.
    """
    path = edge_count_file(data.folder, cutoff) if data.folder is not None else None
    counts = None if path is None else _read(path, data, cutoff)
    if counts is None:
        announce(
            f"counting edges within {cutoff:g} Å of {len(data.columns)} structures"
        )
        counts = _count(data.columns, cutoff, pool)
        if path is None:
            announce("`bench prepare` makes a dataset beside which they are stored")
        else:
            _write(path, counts, data, cutoff)
    return EdgeCounts(counts.edges[data.order], counts.triplets[data.order])


def edge_count_file(folder: Path, cutoff: float) -> Path:
    """Returns the file of the edge counts of a prepared dataset.

    Args:
        folder: of the dataset.
        cutoff: Å.
    """
    return folder / f"edges-{float(cutoff)!r}.npz"


def _read(path: Path, data: Dataset, cutoff: float) -> EdgeCounts | None:
    """Returns the stored counts; None if there are none that fit the data."""
    if not path.exists():
        return None
    try:
        # Opened explicitly, since NumPy does not close a damaged file.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            made_from = (str(stored["digest"]), float(stored["cutoff"]))
            counts = EdgeCounts(stored["edges"], stored["triplets"])
    except Exception as error:  # a damaged zip file raises many types of exceptions
        announce(f"{path} is damaged ({one_line(error)}) and made again")
        return None
    shape = (len(data.columns),)
    fits = all(x.shape == shape and x.dtype == np.int64 for x in counts)
    if made_from != (data.digest, float(cutoff)) or not fits:
        announce(f"{path} is of other data and made again")
        return None
    return counts


def _write(path: Path, counts: EdgeCounts, data: Dataset, cutoff: float) -> None:
    content = io.BytesIO()
    made_from = {"digest": data.digest, "cutoff": float(cutoff)}
    np.savez_compressed(content, **counts._asdict(), **made_from)
    try:
        write_bytes(path, content.getvalue())
    except OSError as error:
        announce(
            f"{path} cannot be written ({error.strerror}): edges are counted again in "
            "each process"
        )


def _count(
    columns: Columns, cutoff: float, pool: concurrent.futures.Executor | None
) -> EdgeCounts:
    count = functools.partial(_count_block, cutoff=cutoff)
    blocks = list(map_ahead(count, _blocks(columns), pool, depth=8))
    counts = np.concatenate([np.zeros((0, 2), np.int64), *blocks])
    return EdgeCounts(*np.ascontiguousarray(counts.T))


class _Block(NamedTuple):
    """Geometry of some structures, as slices of the columns."""

    positions: np.ndarray
    cells: np.ndarray
    periodic: np.ndarray
    ends: np.ndarray


def _blocks(columns: Columns) -> Iterator[_Block]:
    ends = np.asarray(columns.arrays["end_atom"])
    for start in range(0, len(ends), BLOCK):
        rows = slice(start, start + BLOCK)
        first = int(ends[start - 1]) if start else 0
        yield _Block(
            np.asarray(columns.arrays["positions"][first : int(ends[rows][-1])]),
            np.asarray(columns.arrays["cell"][rows]),
            np.asarray(columns.arrays["periodic"][rows]),
            ends[rows] - first,
        )


def _count_block(block: _Block, cutoff: float) -> np.ndarray:
    """Returns the numbers of edges and triplets, `(structures, 2)`."""
    starts = np.append(0, block.ends[:-1])
    return np.array(
        [
            count_edges(block.positions[a:b], cell if periodic else None, cutoff)
            for a, b, cell, periodic in zip(
                starts, block.ends, block.cells, block.periodic, strict=True
            )
        ],
        np.int64,
    ).reshape(-1, 2)
