"""Reader of HDF5 files."""

import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py

from bench.exceptions import BenchError, one_line
from bench.settings.reading import ReadOptions
from bench.sources.decompression import (
    MIN_ROW_BYTES,
    check_size,
    max_decompressed_bytes,
)
from bench.sources.row import Rejected, Row
from bench.sources.source import RowRange, split_into_ranges, stem, unique_names
from bench.sources.structure_arrays import (
    GEOMETRY_KEYS,
    StructureArrays,
    iterate_rows,
    no_structures_error,
)

GZIP_MAX_RATIO = 1032
"""Largest compression ratio of gzip."""

MAX_STORED_RATIO = 2000
"""Largest ratio of the bytes of an array to those stored on disk, above gzip's."""

MAX_UNWRITTEN_BYTES = 1 << 26
"""Largest array that may consist of its fill value only."""


class Hdf5Files(NamedTuple):
    """HDF5 files with structures of one size in each group."""

    files: tuple[Path, ...]
    options: ReadOptions
    format: str = "hdf5"

    def row_ranges(self) -> list[RowRange]:
        """Returns ranges of every group that has positions; links are not followed.

        Raises:
            BenchError: a file is damaged, holds no structures, or is far larger in
                memory than on disk.
        """
        ranges = []
        for path in self.files:
            before, size = len(ranges), 0
            with _open(path) as file:
                for name, group in _groups(file):
                    datasets = _datasets(group)
                    size += sum(_checked_size(path, d) for d in datasets.values())
                    check_size(path, size, f"its content up to group {name}")
                    rows = len(_first(datasets, "positions"))
                    ranges += split_into_ranges(str(path), rows, name)
            if len(ranges) == before:
                raise no_structures_error(path, "no group of it has positions")
        return ranges

    def rows(self, row_range: RowRange) -> Iterator[Row | Rejected]:
        """Yields the structures of a range of a group."""
        path, group_name = row_range.path, row_range.entry_point
        with _open(Path(path)) as file:
            group = file[group_name]
            assert isinstance(group, h5py.Group)
            datasets = _datasets(group)
            rows = len(_first(datasets, "positions"))
            part = slice(row_range.start, row_range.stop)
            try:
                arrays = {
                    k: v[part] if v.shape[:1] == (rows,) else v[()]
                    for k, v in datasets.items()
                }
            except (OSError, TypeError, ValueError, MemoryError) as error:
                raise _damaged(path, error) from error
        file_name = unique_names(self.files, stem)[Path(path)]
        prefix = f"{file_name}{group_name}".rstrip("/")
        yield from iterate_rows(
            StructureArrays(arrays, f"{path}{group_name}"),
            self.options,
            prefix,
            offset=row_range.start,
        )


def _checked_size(path: Path, dataset: h5py.Dataset) -> int:
    """Returns the bytes of a dataset in memory.

    Raises:
        BenchError: most of it was never written, or a chunk has a wrong size.
    """
    rows = dataset.shape[0] if dataset.shape else 0
    # HDF5 reads whole chunks, even if the array was shrunk below their size.
    chunk = math.prod(dataset.chunks) if dataset.chunks else 0
    items = max(int(dataset.size or 0), chunk)
    size = items * dataset.dtype.itemsize or MIN_ROW_BYTES * rows
    stored = dataset.id.get_storage_size()
    if size > MAX_UNWRITTEN_BYTES and size > MAX_STORED_RATIO * stored:
        raise BenchError(
            f"{path} is rejected: its dataset {dataset.name} has the shape "
            f"{dataset.shape}, but {stored} bytes of it were written."
        )
    _check_chunks(path, dataset)
    return size


def _check_chunks(path: Path, dataset: h5py.Dataset) -> None:
    """Checks that no compressed chunk is larger than its layout.

    The HDF5 library decompresses a chunk without a limit. Only chunks that could
    exceed the file's limit are decompressed here.

    Raises:
        BenchError: a chunk is too large, or is compressed twice.
    """
    settings = dataset.id.get_create_plist()
    filters = [settings.get_filter(i)[0] for i in range(settings.get_nfilters())]
    if dataset.chunks is None or h5py.h5z.FILTER_DEFLATE not in filters:
        return
    if filters.count(h5py.h5z.FILTER_DEFLATE) > 1:
        raise BenchError(
            f"{path} is rejected: its dataset {dataset.name} is compressed twice."
        )
    # Four bytes more for a checksum, which may be compressed with the numbers.
    size = math.prod(dataset.chunks) * dataset.dtype.itemsize + 4
    harmless = max_decompressed_bytes(path) // GZIP_MAX_RATIO
    large: list[tuple[int, ...]] = []

    def collect(chunk) -> None:
        if chunk.size > harmless and not chunk.filter_mask:
            large.append(chunk.chunk_offset)

    dataset.id.chunk_iter(collect)
    for offset in large:
        _, compressed = dataset.id.read_direct_chunk(offset)
        decompressor = zlib.decompressobj()
        if len(decompressor.decompress(compressed, size + 1)) > size:
            raise BenchError(
                f"{path} is rejected: a chunk of its dataset {dataset.name} "
                f"decompresses to more than its {size} bytes."
            )


def _datasets(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """Returns the arrays of a group that are stored in this file, by name.

    Otherwise a file could include other files of the user.
    """
    datasets = {}
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            item = group[name]
            if isinstance(item, h5py.Dataset) and not (
                item.external or item.is_virtual
            ):
                datasets[name] = item
    return datasets


def _first(datasets: Mapping[str, h5py.Dataset], name: str) -> Any:
    return next((datasets[k] for k in GEOMETRY_KEYS[name] if k in datasets), None)


def _groups(file: h5py.File) -> list[tuple[str, h5py.Group]]:
    """Returns all groups that have positions, with their names."""
    groups: list[tuple[str, h5py.Group]] = []
    if _first(_datasets(file), "positions") is not None:
        groups.append(("/", file))

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Group):
            return
        if _first(_datasets(item), "positions") is not None:
            groups.append((f"/{name}", item))

    file.visititems(visit)
    return groups


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path | str, error: Exception) -> BenchError:
    return BenchError(
        f"{path} cannot be read as HDF5 ({one_line(error)}): download it again."
    )
