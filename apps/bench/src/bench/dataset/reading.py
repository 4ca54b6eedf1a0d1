"""Reading of whole sources into memory."""

import functools
from typing import Any

import numpy as np

from bench.dataset.columns import Columns, concatenate
from bench.dataset.merging import check_labels, reading_entries
from bench.dataset.parts import read_row_range, row_ranges_of
from bench.dataset.read_statistics import ReadStatistics, combined
from bench.exceptions import BenchError
from bench.execution.workers import CRASH_PRONE_FORMATS, run_tasks
from bench.settings.preparation import Filters
from bench.sources import ReadOptions, Source, open_source


def read_columns(
    source: str, reading: ReadOptions, strict: bool
) -> tuple[Columns, np.ndarray, dict[str, Any]]:
    """Reads all structures of a source into memory.

    Args:
        source: file or folder.
        reading: keys and units.
        strict: whether a structure that cannot be used is an error; otherwise it is
            left out and counted in the header.

    Returns:
        The structures, their indices sorted by id, and how the source was read.

    Raises:
        BenchError: the source cannot be read, has no trainable label or uses an id
            twice.
    """
    reader = open_source(source, reading)
    read_all = functools.partial(_read_row_ranges, strict=strict)
    ((_, parts),) = run_tasks(
        read_all, [reader], int(reader.format in CRASH_PRONE_FORMATS)
    )
    columns = concatenate(part for part, _ in parts)
    statistics = combined(statistics for _, statistics in parts)
    check_labels(statistics, {}, source)
    ids = columns.texts("id")
    order = np.argsort(ids, kind="stable")
    repeated = ids[order][1:][ids[order][1:] == ids[order][:-1]]
    if len(repeated):
        raise BenchError(
            f"{source} uses the id {repeated[0].decode()!r} twice: ids must be unique; "
            "`bench prepare` leaves repeats out."
        )
    header = {"source": source, "read_as": reader.format, **reading_entries(statistics)}
    return columns, order, header


def _read_row_ranges(
    reader: Source, strict: bool
) -> list[tuple[Columns, ReadStatistics]]:
    return [
        read_row_range(reader, row_range, Filters(), strict)
        for row_range in row_ranges_of(reader)
    ]
