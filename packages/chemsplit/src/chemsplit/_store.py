"""Finished rows on disk, so that an interrupted description can go on."""

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ._draft import draft
from ._geometry import Geometry
from ._rows import Rows

_FORMAT = "chemsplit rows 1"


def stored(
    folder: Path | None,
    chunk: Sequence[Geometry],
    settings: str,
    compute: Callable[[], Rows],
) -> Rows:
    """Read the rows of a chunk of structures, or compute and write them.

    Parameters
    ----------
    folder : Path or None
        Where the files are; None stores nothing.
    chunk : sequence of Geometry
        The structures.
    settings : str
        What the rows depend on besides.
    compute : callable
        Computes the rows.

    Returns
    -------
    Rows
        One a structure.
    """
    if folder is None:
        return compute()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_fingerprint(chunk, settings)}.npz"
    if path.exists():
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            path.unlink()  # damaged: computed again below
    rows = compute()
    _write(path, rows)
    return rows


def _fingerprint(chunk: Sequence[Geometry], settings: str) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {settings}".encode())
    for one in chunk:
        cell = b"open" if one.cell is None else one.cell.astype(np.float64).tobytes()
        numbers, positions = one.numbers.astype(np.int64), one.positions
        digest.update(len(numbers).to_bytes(8) + numbers.tobytes() + cell)
        digest.update(positions.astype(np.float64).tobytes())
    return digest.hexdigest()[:32]


def _write(path: Path, rows: Rows) -> None:
    with draft(path) as written:
        np.savez(
            written,
            values=rows.values,
            lengths=rows.lengths,
            elements=np.concatenate([np.array(one) for one in rows.elements]),
            n_elements=np.array([len(one) for one in rows.elements]),
        )


def _read(path: Path) -> Rows:
    # opened here: NumPy leaves a damaged file open
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        ends = np.cumsum(file["n_elements"])[:-1]
        elements = [tuple(one.tolist()) for one in np.split(file["elements"], ends)]
        return Rows(file["values"], file["lengths"], elements)
