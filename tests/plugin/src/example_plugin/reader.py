"""A reader: tables of atoms, one file per structure."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from bench.settings.reading import ReadOptions
from bench.sources import Rejected, Row, RowRange
from bench.sources.row_building import Geometry, build_row
from bench.sources.source import build_or_reject


class _Fields(NamedTuple):
    files: tuple[Path, ...]
    options: ReadOptions
    format: str = "plain-table"


class PlainTable(_Fields):
    """Files with `key value` in comments and one `number x y z` per line."""

    patterns: ClassVar[tuple[str, ...]] = ("*.atoms",)

    def row_ranges(self) -> list[RowRange]:
        """Returns one range per file."""
        return [RowRange(str(path), 0, 1) for path in self.files]

    def rows(self, row_range: RowRange) -> Iterator[Row | Rejected]:
        """Yields the structure of a file."""
        yield build_or_reject(row_range.path, self._row, Path(row_range.path))

    def _row(self, path: Path) -> Row:
        lines = path.read_text().splitlines()
        comments = (line[1:].split() for line in lines if line.startswith("#"))
        values = {key: float(value) for key, value in comments}
        table = np.loadtxt(path, ndmin=2)
        geometry = Geometry(table[:, 0].astype(int), table[:, 1:])
        return build_row(geometry, values, self.options, id=path.stem)
