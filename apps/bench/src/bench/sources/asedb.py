"""ASE's SQLite databases (`.db`)."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ase.db

from bench.exceptions import BenchError, one_line
from bench.sources.ase_atoms import values_of
from bench.sources.reading import Geometry, Reading, read_row
from bench.sources.row import Rejected, Row
from bench.sources.source import Unit, attempt, blocks, names_of, stem


class AseDb(NamedTuple):
    """Databases of single rows; one without a group stands alone."""

    files: tuple[Path, ...]
    reading: Reading
    format: str = "db"

    def units(self) -> list[Unit]:
        """Stretches of rows, in the order of their numbers.

        Raises:
            BenchError: a file is no database, or computes what it seems to hold.
        """
        found = []
        for path in self.files:
            _check_tables(path)
            with _opened(path) as database:
                found += blocks(str(path), database.count())
        return found

    def rows(self, unit: Unit) -> Iterator[Row | Rejected]:
        """The rows of a stretch."""
        path = Path(unit.path)
        own = names_of(self.files, stem)[path]
        with _opened(path) as database:
            size = unit.stop - unit.start
            for row in database.select(sort="id", offset=unit.start, limit=size):
                where = f"Row {row.id} of {path}"
                yield attempt(where, self._row, row, f"{own}/{row.id:07d}")

    def _row(self, row: Any, id: str) -> Row:
        atoms = row.toatoms()
        return read_row(
            Geometry(
                atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc.tolist()
            ),
            {**row.data, **row.key_value_pairs, **values_of(atoms)},
            self.reading,
            id=id,
        )


def _check_tables(path: Path) -> None:
    """Refuses what is no database of ASE, and rows that are computed.

    A view may have any number of them.
    """
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        ) as database:
            computed = database.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('view', 'trigger') "
                "OR sql LIKE 'CREATE VIRTUAL%'"
            ).fetchone()
            systems = database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' "
                "AND name = 'systems'"
            ).fetchone()
    except sqlite3.Error as error:
        raise BenchError(
            f"{path} cannot be read as db ({one_line(error)}): fetch it again."
        ) from error
    if computed is not None:
        raise BenchError(
            f"{path} is refused: {computed[0]} in it is a view or a trigger, which no "
            "database of ASE has."
        )
    if systems is None:
        # ASE would make the table, and write into a file that it was to read.
        raise BenchError(f"{path} is no database of ASE: it has no table of systems.")


def _opened(path: Path) -> Any:
    return ase.db.connect(path, type="db", use_lock_file=False)
