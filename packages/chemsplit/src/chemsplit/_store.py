"""Computed rows on disk, to resume an interrupted call of `describe`."""

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ._atomic_write import atomic_write
from ._geometry import Geometry
from ._ragged_rows import RaggedRows

_FORMAT = "chemsplit rows 1"


def load_or_compute(
    folder: Path | None,
    chunk: Sequence[Geometry],
    settings: str,
    compute: Callable[[], RaggedRows],
) -> RaggedRows:
    """Load the rows of a chunk of structures, or compute and store them.

    Parameters
    ----------
    folder : Path or None
        Folder of the stored rows; None computes without storing.
    chunk : sequence of Geometry
        Structures of the chunk.
    settings : str
        Settings of the descriptor, part of the name of the file.
    compute : callable
        Function that computes the rows.

    Returns
    -------
    RaggedRows
        One row per structure.
    """
    if folder is None:
        return compute()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_fingerprint(chunk, settings)}.npz"
    if path.exists():
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            path.unlink()  # the file is damaged: compute the rows again
    rows = compute()
    _write(path, rows)
    return rows


def _fingerprint(chunk: Sequence[Geometry], settings: str) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {settings}".encode())
    for geometry in chunk:
        cell = geometry.cell
        cell = b"open" if cell is None else cell.astype(np.float64).tobytes()
        numbers, positions = geometry.numbers.astype(np.int64), geometry.positions
        digest.update(len(numbers).to_bytes(8) + numbers.tobytes() + cell)
        digest.update(positions.astype(np.float64).tobytes())
    return digest.hexdigest()[:32]


def _write(path: Path, rows: RaggedRows) -> None:
    with atomic_write(path) as temporary:
        np.savez(
            temporary,
            values=rows.values,
            lengths=rows.lengths,
            elements=np.concatenate([np.array(elements) for elements in rows.elements]),
            n_elements=np.array([len(elements) for elements in rows.elements]),
        )


def _read(path: Path) -> RaggedRows:
    # Opened explicitly, since np.load does not close a damaged file.
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        ends = np.cumsum(file["n_elements"])[:-1]
        elements = [tuple(row.tolist()) for row in np.split(file["elements"], ends)]
        return RaggedRows(file["values"], file["lengths"], elements)
