"""One unit of a source, read and kept aside until all of them are there."""

import io
import itertools
import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from bench.dataset.columns import Columns, join, pack
from bench.dataset.contacts import overlaps
from bench.dataset.filters import Filters
from bench.dataset.read_statistics import ReadStatistics, combined
from bench.exceptions import BenchError, one_line
from bench.files import write_bytes
from bench.labels import LABELS
from bench.sources import ROWS_PER_RANGE, Rejected, Row, RowRange, Source

MEND = "mend or remove it; `bench prepare` without --strict leaves it out"


def units_of(source: Source) -> list[RowRange]:
    """The units of a source, at least one.

    Args:
        source: which reader.

    Raises:
        BenchError: a file cannot be read, or there are no structures.
    """
    some = ", ".join(str(path) for path in source.files[:3])
    try:
        units = source.row_ranges()
    except BenchError:
        raise
    except Exception as error:  # a damaged file runs its reader into anything
        raise _unreadable(source, some, error) from error
    if not units:
        raise BenchError(f"{some}: there are no structures; give labelled ones.")
    return units


def read_unit(
    source: Source, unit: RowRange, filters: Filters, strict: bool
) -> tuple[Columns, ReadStatistics]:
    """The rows of a unit that filters keep, as columns.

    Args:
        source: which reader.
        unit: one of its units.
        filters: conditions on one row.
        strict: whether a row that cannot be used is an error.

    Raises:
        BenchError: the file cannot be read, or, if strict, a row cannot be used.
    """
    columns, statistics = zip(*read_blocks(source, unit, filters, strict), strict=True)
    return join(columns), combined(statistics)


def read_blocks(
    source: Source, unit: RowRange, filters: Filters, strict: bool
) -> Iterator[tuple[Columns, ReadStatistics]]:
    """The same piece by piece, at least one: some units are larger than memory.

    Args:
        source: which reader.
        unit: one of its units.
        filters: conditions on one row.
        strict: whether a row that cannot be used is an error.

    Raises:
        BenchError: as `read_unit`.
    """
    rows = source.rows(unit)
    while True:
        # One more than a unit that was cut to size has, so that it is one piece.
        coming = itertools.islice(rows, ROWS_PER_RANGE + 1)
        with warnings.catch_warnings():
            # Readers warn of what the checks of a row find anyway.
            warnings.simplefilter("ignore")
            try:
                columns, statistics = _filtered(coming, filters, strict)
            except BenchError:
                raise
            except Exception as error:  # a damaged file runs its reader into anything
                raise _unreadable(source, unit.path, error) from error
        yield columns, statistics
        if statistics.read <= ROWS_PER_RANGE:
            return


def _filtered(
    coming: Iterable[Row | Rejected], filters: Filters, strict: bool
) -> tuple[Columns, ReadStatistics]:
    rows, statistics = [], ReadStatistics()
    for row in coming:
        statistics.read += 1
        if isinstance(row, Rejected):
            if strict:
                raise BenchError(f"{row.location}: {row.reason}; {MEND}.")
            statistics.reject(*row)
            continue
        statistics.add_keys(row)
        statistics.stress_without_cell += (
            row.cell is None and "stress" in row.label_keys
        )
        row = filters.trimmed(row)
        why = filters.complaint(row)
        if why is not None:
            statistics.left_out[why] += 1
            continue
        rows.append(row)
    columns = pack(rows)
    close = overlaps(columns)
    for i, why in close.items():
        if strict:
            raise BenchError(f"{rows[i].id}: {why}; {MEND}.")
        statistics.reject(rows[i].id, why)
    if close:
        rows = [row for i, row in enumerate(rows) if i not in close]
        columns = pack(rows)
    for row in rows:
        statistics.kept += 1
        statistics.labels.update(k for k in LABELS if getattr(row, k) is not None)
        if row.forces is not None and len(row) > 1 and not row.forces.any():
            statistics.zero_force_structures += 1
    return columns, statistics


def _unreadable(source: Source, path: str, error: Exception) -> BenchError:
    return BenchError(
        f"{path} cannot be read as {source.format} ({type(error).__name__}: "
        f"{one_line(error)}): it is damaged or of another format."
    )


def save_part(path: Path, columns: Columns, statistics: ReadStatistics) -> None:
    """Writes a part; it is there whole or not at all.

    Args:
        path: of the part.
        columns: of the rows that were kept.
        statistics: of the unit.
    """
    letters = json.dumps(statistics.to_json()).encode()
    content = io.BytesIO()
    np.savez(content, **columns.arrays, statistics=np.frombuffer(letters, np.uint8))  # pyright: ignore[reportArgumentType]
    write_bytes(path, content.getvalue())


def parts_of(path: Path) -> list[Path]:
    """All parts of a unit, in order.

    Args:
        path: of the last one, which is written when the others are there.
    """
    return [*sorted(path.parent.glob(f"{path.stem}+*{path.suffix}")), path]


def part_before(path: Path, number: int) -> Path:
    """Where a part of a unit is kept that is not the last one.

    Args:
        path: of the last one.
        number: of the part.
    """
    return path.with_name(f"{path.stem}+{number:06d}{path.suffix}")


def load_part(path: Path) -> Columns:
    """The columns of a part.

    Args:
        path: of a part.

    Raises:
        BenchError: it is damaged.
    """
    return Columns(_loaded(path, lambda name: name != "statistics"))


def load_statistics(path: Path) -> ReadStatistics:
    """What was read and left out when a part was made.

    Args:
        path: of a part.

    Raises:
        BenchError: it is damaged.
    """
    letters = _loaded(path, lambda name: name == "statistics")["statistics"]
    return ReadStatistics.from_json(json.loads(letters.tobytes()))


def _loaded(path: Path, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
    try:
        # Opened here, for numpy leaves a damaged file open.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if wanted(name)}
    except Exception as error:  # zip files are damaged in many ways
        raise BenchError(
            f"{path} is damaged ({one_line(error)}): delete it and run the same "
            "command again."
        ) from error
