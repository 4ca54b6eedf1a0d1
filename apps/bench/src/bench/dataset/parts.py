"""Parts: filtered rows of one range of a source, in a file until all are merged."""

import io
import itertools
import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from bench.dataset.columns import Columns, columns_from_rows, concatenate
from bench.dataset.filters import drop_labels, exclusion_reason
from bench.dataset.overlaps import find_overlaps
from bench.dataset.read_statistics import ReadStatistics, combined
from bench.exceptions import BenchError, one_line
from bench.files import write_bytes
from bench.settings.preparation import Filters
from bench.sources import ROWS_PER_RANGE, Rejected, Row, RowRange, Source

REMEDY = "fix or remove it; `bench prepare` leaves it out unless `strict: true`"


def row_ranges_of(source: Source) -> list[RowRange]:
    """Returns the row ranges of a source, at least one.

    Args:
        source: reader of its files.

    Raises:
        BenchError: a file cannot be read, or there are no structures.
    """
    paths = ", ".join(str(path) for path in source.files[:3])
    try:
        row_ranges = source.row_ranges()
    except BenchError:
        raise
    except Exception as error:  # readers of damaged files raise any exception
        raise _unreadable(source, paths, error) from error
    if not row_ranges:
        raise BenchError(f"{paths}: there are no structures.")
    return row_ranges


def read_row_range(
    source: Source, row_range: RowRange, filters: Filters, strict: bool
) -> tuple[Columns, ReadStatistics]:
    """Reads the rows of a range that pass the filters, as columns.

    Args:
        source: reader of its file.
        row_range: one of the ranges of the source.
        filters: conditions on single rows.
        strict: whether a row that cannot be used is an error.

    Raises:
        BenchError: the file cannot be read, or `strict` and a row cannot be used.
    """
    columns, statistics = zip(
        *read_blocks(source, row_range, filters, strict), strict=True
    )
    return concatenate(columns), combined(statistics)


def read_blocks(
    source: Source, row_range: RowRange, filters: Filters, strict: bool
) -> Iterator[tuple[Columns, ReadStatistics]]:
    """Yields the rows of `read_row_range` in blocks, for ranges larger than memory.

    Args:
        source: reader of its file.
        row_range: one of the ranges of the source.
        filters: conditions on single rows.
        strict: whether a row that cannot be used is an error.

    Yields:
        Columns and statistics, at least once.

    Raises:
        BenchError: the file cannot be read, or `strict` and a row cannot be used.
    """
    rows = source.rows(row_range)
    while True:
        # One more row than a range of limited size has, which is then a single block.
        block = itertools.islice(rows, ROWS_PER_RANGE + 1)
        with warnings.catch_warnings():
            # The checks of a row also find what readers warn about.
            warnings.simplefilter("ignore")
            try:
                columns, statistics = _filtered(block, filters, strict)
            except BenchError:
                raise
            except Exception as error:  # readers of damaged files raise any exception
                raise _unreadable(source, row_range.path, error) from error
        yield columns, statistics
        if statistics.read <= ROWS_PER_RANGE:
            return


def _filtered(
    block: Iterable[Row | Rejected], filters: Filters, strict: bool
) -> tuple[Columns, ReadStatistics]:
    """Returns the rows of a block that pass all checks and filters."""
    rows, statistics = [], ReadStatistics()
    for row in block:
        statistics.read += 1
        if isinstance(row, Rejected):
            if strict:
                raise BenchError(f"{row.location}: {row.reason}; {REMEDY}.")
            statistics.reject(*row)
            continue
        statistics.add_keys(row)
        statistics.stress_without_cell += (
            row.cell is None and "stress" in row.label_keys
        )
        row = drop_labels(row, filters)
        reason = exclusion_reason(row, filters)
        if reason is not None:
            statistics.left_out[reason] += 1
            continue
        rows.append(row)
    columns = columns_from_rows(rows)
    overlaps = find_overlaps(columns)
    for i, message in overlaps.items():
        if strict:
            raise BenchError(f"{rows[i].id}: {message}; {REMEDY}.")
        statistics.reject(rows[i].id, message)
    if overlaps:
        rows = [row for i, row in enumerate(rows) if i not in overlaps]
        columns = columns_from_rows(rows)
    for row in rows:
        statistics.accepted += 1
        statistics.labels.update(list(row.labels))
        if row.forces is not None and len(row) > 1 and not row.forces.any():
            statistics.zero_force_structures += 1
    return columns, statistics


def _unreadable(source: Source, path: str, error: Exception) -> BenchError:
    return BenchError(
        f"{path} cannot be read as {source.format} ({type(error).__name__}: "
        f"{one_line(error)}): it is damaged or of another format."
    )


def save_part(path: Path, columns: Columns, statistics: ReadStatistics) -> None:
    """Writes a part atomically.

    Args:
        path: of the part.
        columns: rows that passed the filters.
        statistics: of all rows that were read for this part.
    """
    encoded = json.dumps(statistics.to_json()).encode()
    content = io.BytesIO()
    np.savez(content, **columns.arrays, statistics=np.frombuffer(encoded, np.uint8))  # pyright: ignore[reportArgumentType]
    write_bytes(path, content.getvalue())


def parts_of(path: Path) -> list[Path]:
    """Returns the paths of all parts of a row range, in order.

    Args:
        path: of the last part, which is written after the others.
    """
    return [*sorted(path.parent.glob(f"{path.stem}+*{path.suffix}")), path]


def part_before(path: Path, number: int) -> Path:
    """Returns the path of a part that is not the last one of its row range.

    Args:
        path: of the last part.
        number: index of the part, from 0.
    """
    return path.with_name(f"{path.stem}+{number:06d}{path.suffix}")


def load_part(path: Path) -> Columns:
    """Loads the columns of a part.

    Args:
        path: of a part.

    Raises:
        BenchError: it is damaged.
    """
    return Columns(_loaded(path, lambda name: name != "statistics"))


def load_statistics(path: Path) -> ReadStatistics:
    """Loads the statistics of a part.

    Args:
        path: of a part.

    Raises:
        BenchError: it is damaged.
    """
    encoded = _loaded(path, lambda name: name == "statistics")["statistics"]
    return ReadStatistics.from_json(json.loads(encoded.tobytes()))


def _loaded(path: Path, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
    try:
        # Opened here since `np.load` does not close a damaged file.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if wanted(name)}
    except Exception as error:  # damaged zip files raise many exceptions
        raise BenchError(
            f"{path} is damaged ({one_line(error)}): delete it and run the same "
            "command again."
        ) from error
