"""Reader of ASE's LMDB databases (`.aselmdb`), such as OMol25 and ODAC25."""

import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import lmdb
import numpy as np

from bench.exceptions import BenchError, one_line
from bench.settings.reading import DEFAULT_KEYS, ReadOptions
from bench.sources.row import Rejected, Row, RowError
from bench.sources.row_building import Geometry, build_row
from bench.sources.source import (
    ROWS_PER_RANGE,
    RowRange,
    build_or_reject,
    stem,
    unique_names,
)

MAX_ROW_BYTES = 1 << 26
"""Bytes of a decompressed row; a larger row is not a structure."""

MAX_MISSING_ROWS = 1000
"""Missing rows up to which they are rejected one by one; if the file holds more rows,
that many may be missing."""

LABEL_KEYS = DEFAULT_KEYS | {
    "total_charge": ("charge", "total_charge"),
    "charges": ("lowdin_charges", "charges"),
    "id": (),
    "group": (),
}
GEOMETRY_KEYS = ("numbers", "positions", "cell", "pbc")
INTERNAL_KEYS = (*GEOMETRY_KEYS, "data", "key_value_pairs", "calculator_parameters")


class AseLmdb(NamedTuple):
    """LMDB databases of rows in ASE's JSON; only numbers and strings are decoded."""

    files: tuple[Path, ...]
    options: ReadOptions
    format: str = "aselmdb"

    def row_ranges(self) -> list[RowRange]:
        """Returns ranges of row ids.

        Raises:
            BenchError: a file is truncated, not an ASE database, or most of its rows
                are missing.
        """
        ranges = []
        for path in self.files:
            with _open(path) as database, database.begin() as transaction:
                next_id = _metadata_row(transaction, b"nextid", path)
                deleted = len(_metadata_row(transaction, b"deleted_ids", path) or ())
                count = database.stat()["entries"]
            if not isinstance(next_id, int):
                raise BenchError(
                    f"{path} is not an ASE database: it has no row `nextid`."
                )
            if next_id - 1 - deleted - count > max(count, MAX_MISSING_ROWS):
                raise BenchError(
                    f"{path} announces {next_id - 1} rows (its row `nextid`), but "
                    f"holds {count}: it is damaged or incomplete; download it again."
                )
            starts = range(1, next_id, ROWS_PER_RANGE)
            ranges += [
                RowRange(str(path), s, min(s + ROWS_PER_RANGE, next_id)) for s in starts
            ]
        return ranges

    def rows(self, row_range: RowRange) -> Iterator[Row | Rejected]:
        """Yields the rows of a range that were not deleted."""
        path = Path(row_range.path)
        name = unique_names(self.files, stem)[path]
        with _open(path) as database, database.begin() as transaction:
            deleted = set(_metadata_row(transaction, b"deleted_ids", path) or ())
            for number in range(row_range.start, row_range.stop):
                if number not in deleted:
                    blob = transaction.get(str(number).encode())
                    location = f"Row {number} of {path}"
                    yield build_or_reject(location, self._row, blob, f"{name}/{number}")

    def _row(self, blob: bytes | None, id: str) -> Row:
        if blob is None:
            raise RowError("it is missing, although the database announces it")
        content = _decompressed(blob)
        if not isinstance(content, dict):
            raise RowError("it is not a JSON object")
        data = content.get("data") or {}
        if isinstance(data, str):
            data = json.loads(data, object_hook=_array)
        pairs = content.get("key_value_pairs") or {}
        top = {k: v for k, v in content.items() if k not in INTERNAL_KEYS}
        values = {**data, **pairs, **top}
        name, group = _id_and_group(values)
        return build_row(
            Geometry(*(content.get(name) for name in GEOMETRY_KEYS)),
            values,
            self.options,
            id=name or id,
            group=group,
            default_keys=LABEL_KEYS,
        )


def _id_and_group(values: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Returns id and group: frame and MOF in ODAC25, path and molecule in OMol25.

    The group of an OMol25 path that ends in a step is its parent path. Other paths are
    conformers, which are grouped by composition.
    """
    if values.get("mof_name"):
        parts = (values.get(k) for k in ("name", "sid", "fid"))
        return "/".join(str(p) for p in parts if p is not None), values["mof_name"]
    if not isinstance(values.get("source"), str):
        return None, None
    path = PurePosixPath(values["source"])
    path = path.parent if path.suffix == ".zst" else path
    if re.fullmatch(r"step\d+", path.name):
        return str(path), str(path.parent)
    parts = [values.get(k) for k in ("data_id", "composition")]
    strings = [part for part in parts if isinstance(part, str)]
    return str(path), "/".join(strings) if len(strings) == 2 else None


def _array(value: dict[str, Any]) -> Any:
    """Returns an array for ASE's JSON of arrays, any other dictionary unchanged."""
    if "__ndarray__" not in value:
        return value
    shape, dtype, numbers = value["__ndarray__"]
    if np.dtype(dtype).kind not in "biuf":
        raise RowError(f"it holds an array of type {dtype!r}")
    return np.array(numbers, dtype).reshape(shape)


def _decompressed(blob: bytes) -> Any:
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(blob, MAX_ROW_BYTES)
    except zlib.error as error:
        raise RowError(f"it cannot be decompressed ({one_line(error)})") from None
    if stream.unconsumed_tail:
        raise RowError(f"it is larger than {MAX_ROW_BYTES >> 20} MiB decompressed")
    if not stream.eof:
        raise RowError("it is truncated")
    return json.loads(text, object_hook=_array)


def _metadata_row(transaction: Any, key: bytes, path: Path) -> Any:
    try:
        blob = transaction.get(key)
        return None if blob is None else _decompressed(blob)
    except Exception as error:
        raise BenchError(
            f"{path} is not an ASE database or is damaged: its row `{key.decode()}` "
            f"cannot be read ({one_line(error)})."
        ) from error


def _open(path: Path) -> Any:
    _check_length(path)
    try:
        return lmdb.open(
            str(path), subdir=False, readonly=True, lock=False, readahead=False
        )
    except lmdb.Error as error:
        raise BenchError(
            f"{path} cannot be opened as LMDB: {one_line(error)}."
        ) from error


def _check_length(path: Path) -> None:
    """Checks that a file is not truncated, which would make LMDB crash."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(1 << 17)
    try:
        last_page, _, page_size = max(
            _parse_meta_page(header, offset)
            for offset in (0, _parse_meta_page(header, 0)[2])
        )
    except (struct.error, ValueError):
        raise BenchError(
            f"{path} is not an LMDB file or its header is damaged: download it again."
        ) from None
    expected = (last_page + 1) * page_size
    if size < expected:
        raise BenchError(
            f"{path} is truncated: it has {size} of {expected} bytes; download "
            "it again."
        )


def _parse_meta_page(header: bytes, offset: int) -> tuple[int, int, int]:
    """Returns last page number, transaction number and page size of LMDB."""
    magic, version, _, _, page_size = struct.unpack_from("<16xIIQQI", header, offset)
    last_page, number = struct.unpack_from("<QQ", header, offset + 136)
    if magic != 0xBEEFC0DE or version != 1 or not 512 <= page_size <= 65536:
        raise ValueError("not a meta page")
    return last_page, number, page_size
