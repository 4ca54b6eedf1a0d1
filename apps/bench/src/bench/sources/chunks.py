"""Compressed chunks of HDF5, which its library unpacks to whatever they hold."""

import math
import zlib
from pathlib import Path

import h5py

from bench.exceptions import BenchError
from bench.sources.limits import most_bytes

MOST_DEFLATED = 1032
"""Bytes that one of gzip stands for at most."""


def check_chunks(path: Path, item: h5py.Dataset) -> None:
    """Refuses a dataset with a chunk that unpacks to more than a chunk has.

    Only chunks that may fill memory are tried, which are the large ones of small files.

    Args:
        path: of the file.
        item: dataset in it.

    Raises:
        BenchError: a chunk unpacks to too much, or is compressed twice.
    """
    settings = item.id.get_create_plist()
    filters = [settings.get_filter(i)[0] for i in range(settings.get_nfilters())]
    if item.chunks is None or h5py.h5z.FILTER_DEFLATE not in filters:
        return
    if filters.count(h5py.h5z.FILTER_DEFLATE) > 1:
        raise BenchError(f"{path} is refused: its dataset {item.name} is packed twice.")
    # Room for a checksum, which may be packed with the numbers.
    size = math.prod(item.chunks) * item.dtype.itemsize + 4
    harmless = most_bytes(path) // MOST_DEFLATED
    large: list[tuple[int, ...]] = []

    def note(chunk) -> None:
        if chunk.size > harmless and not chunk.filter_mask:
            large.append(chunk.chunk_offset)

    item.id.chunk_iter(note)
    for offset in large:
        _, packed = item.id.read_direct_chunk(offset)
        unpacking = zlib.decompressobj()
        if len(unpacking.decompress(packed, size + 1)) > size:
            raise BenchError(
                f"{path} is refused: a chunk of its dataset {item.name} unpacks to "
                f"more than the {size} bytes that it has room for."
            )
