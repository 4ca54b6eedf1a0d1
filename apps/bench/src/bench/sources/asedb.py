"""Reader of ASE's SQLite databases (`.db`)."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ase.db

from bench.exceptions import BenchError, one_line
from bench.settings.reading import ReadOptions
from bench.sources.ase_atoms import values_from_atoms
from bench.sources.row import Rejected, Row
from bench.sources.row_building import Geometry, build_row
from bench.sources.source import (
    RowRange,
    build_or_reject,
    split_into_ranges,
    stem,
    unique_names,
)


class AseDb(NamedTuple):
    """SQLite databases of ASE; a row without a group is a group of its own."""

    files: tuple[Path, ...]
    options: ReadOptions
    format: str = "db"

    def row_ranges(self) -> list[RowRange]:
        """Returns ranges of rows, in the order of their ids.

        Raises:
            BenchError: a file is not a database of ASE, or contains views or triggers.
        """
        ranges = []
        for path in self.files:
            _check_tables(path)
            with _open(path) as database:
                ranges += split_into_ranges(str(path), database.count())
        return ranges

    def rows(self, row_range: RowRange) -> Iterator[Row | Rejected]:
        """Yields the rows of a range."""
        path = Path(row_range.path)
        name = unique_names(self.files, stem)[path]
        with _open(path) as database:
            size = row_range.stop - row_range.start
            for row in database.select(sort="id", offset=row_range.start, limit=size):
                location = f"Row {row.id} of {path}"
                yield build_or_reject(location, self._row, row, f"{name}/{row.id:07d}")

    def _row(self, row: Any, id: str) -> Row:
        atoms = row.toatoms()
        return build_row(
            Geometry(
                atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc.tolist()
            ),
            {**row.data, **row.key_value_pairs, **values_from_atoms(atoms)},
            self.options,
            id=id,
        )


def _check_tables(path: Path) -> None:
    """Checks that a file is a database of ASE without views and triggers.

    A view can compute any number of rows.
    """
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        ) as database:
            view = database.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('view', 'trigger') "
                "OR sql LIKE 'CREATE VIRTUAL%'"
            ).fetchone()
            systems = database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' "
                "AND name = 'systems'"
            ).fetchone()
    except sqlite3.Error as error:
        raise BenchError(
            f"{path} cannot be read as db ({one_line(error)}): download it again."
        ) from error
    if view is not None:
        raise BenchError(
            f"{path} is rejected: {view[0]} in it is a view or a trigger, which no "
            "database of ASE has."
        )
    if systems is None:
        # ASE would create the table and so write to its input.
        raise BenchError(f"{path} is no database of ASE: it has no table of systems.")


def _open(path: Path) -> Any:
    return ase.db.connect(path, type="db", use_lock_file=False)
