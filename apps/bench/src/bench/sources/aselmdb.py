"""ASE's LMDB databases, the form of OMol25 and ODAC25 (`.aselmdb`)."""

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
from bench.sources.reading import DEFAULTS, Geometry, Reading, read_row
from bench.sources.row import Rejected, Row, RowError
from bench.sources.source import BLOCK, Unit, attempt, names_of, stem

LARGEST_ROW = 1 << 26
"""Bytes of a row once unpacked; a larger one is not a structure."""

MOST_MISSING = 1000
"""Rows that are named one by one where a file lacks them; as many as it holds, too."""

NAMES = DEFAULTS | {
    "total_charge": ("charge", "total_charge"),
    "charges": ("lowdin_charges", "charges"),
    "id": (),
    "group": (),
}
GEOMETRY = ("numbers", "positions", "cell", "pbc")
BOOKKEEPING = (*GEOMETRY, "data", "key_value_pairs", "calculator_parameters")


class AseLmdb(NamedTuple):
    """Databases of rows in ASE's JSON; only numbers and words are read from them."""

    files: tuple[Path, ...]
    reading: Reading
    format: str = "aselmdb"

    def units(self) -> list[Unit]:
        """Stretches of row ids.

        Raises:
            BenchError: a file is truncated, no ASE database, or lacks most rows that
                it counts.
        """
        found = []
        for path in self.files:
            with _opened(path) as database, database.begin() as view:
                following = _special(view, b"nextid", path)
                deleted = len(_special(view, b"deleted_ids", path) or ())
                held = database.stat()["entries"]
            if not isinstance(following, int):
                raise BenchError(
                    f"{path} is not an ASE database: it has no row `nextid`."
                )
            if following - 1 - deleted - held > max(held, MOST_MISSING):
                raise BenchError(
                    f"{path} counts {following - 1} rows (its row `nextid`), but holds "
                    f"{held}: it is damaged or incomplete; fetch it again."
                )
            starts = range(1, following, BLOCK)
            found += [Unit(str(path), s, min(s + BLOCK, following)) for s in starts]
        return found

    def rows(self, unit: Unit) -> Iterator[Row | Rejected]:
        """The rows of a stretch that were not deleted."""
        path = Path(unit.path)
        own = names_of(self.files, stem)[path]
        with _opened(path) as database, database.begin() as view:
            deleted = set(_special(view, b"deleted_ids", path) or ())
            for number in range(unit.start, unit.stop):
                if number not in deleted:
                    blob = view.get(str(number).encode())
                    where = f"Row {number} of {path}"
                    yield attempt(where, self._row, blob, f"{own}/{number}")

    def _row(self, blob: bytes | None, id: str) -> Row:
        if blob is None:
            raise RowError("it is missing, although the database counts it")
        content = _unpacked(blob)
        if not isinstance(content, dict):
            raise RowError("it holds no names and values")
        data = content.get("data") or {}
        if isinstance(data, str):
            data = json.loads(data, object_hook=_array)
        pairs = content.get("key_value_pairs") or {}
        top = {k: v for k, v in content.items() if k not in BOOKKEEPING}
        values = {**data, **pairs, **top}
        own, group = _names(values)
        return read_row(
            Geometry(*(content.get(name) for name in GEOMETRY)),
            values,
            self.reading,
            id=own or id,
            group=group,
            defaults=NAMES,
        )


def _names(values: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Id and group: frame and MOF in ODAC25, calculation and molecule in OMol25.

    A path of OMol25 that ends in a step belongs to the molecule above it. Other paths
    name one conformer; conformers are kept together by their composition.
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
    kin = [k for k in map(values.get, ("data_id", "composition")) if isinstance(k, str)]
    return str(path), "/".join(kin) if len(kin) == 2 else None


def _array(value: dict[str, Any]) -> Any:
    """Arrays of ASE's JSON; anything else stays a dictionary."""
    if "__ndarray__" not in value:
        return value
    shape, kind, numbers = value["__ndarray__"]
    if np.dtype(kind).kind not in "biuf":
        raise RowError(f"it holds an array of type {kind!r}")
    return np.array(numbers, kind).reshape(shape)


def _unpacked(blob: bytes) -> Any:
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(blob, LARGEST_ROW)
    except zlib.error as error:
        raise RowError(f"it cannot be unpacked ({one_line(error)})") from None
    if stream.unconsumed_tail:
        raise RowError(f"it is larger than {LARGEST_ROW >> 20} MiB once unpacked")
    if not stream.eof:
        raise RowError("it is cut off")
    return json.loads(text, object_hook=_array)


def _special(view: Any, key: bytes, path: Path) -> Any:
    try:
        blob = view.get(key)
        return None if blob is None else _unpacked(blob)
    except Exception as error:
        raise BenchError(
            f"{path} is not an ASE database or is damaged: its row `{key.decode()}` "
            f"cannot be read ({one_line(error)})."
        ) from error


def _opened(path: Path) -> Any:
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
    """Refuses a file shorter than its own index: reading it ends the process."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(1 << 17)
    try:
        last, _, page = max(_meta(head, at) for at in (0, _meta(head, 0)[2]))
    except (struct.error, ValueError):
        raise BenchError(
            f"{path} is not an LMDB file or its beginning is damaged: fetch it again."
        ) from None
    if size < (last + 1) * page:
        raise BenchError(
            f"{path} is truncated: it has {size} of {(last + 1) * page} bytes; fetch "
            "it again."
        )


def _meta(head: bytes, at: int) -> tuple[int, int, int]:
    """Last page, transaction and size of pages in a meta page of LMDB."""
    magic, version, _, _, page = struct.unpack_from("<16xIIQQI", head, at)
    last, transaction = struct.unpack_from("<QQ", head, at + 136)
    if magic != 0xBEEFC0DE or version != 1 or not 512 <= page <= 65536:
        raise ValueError("no meta page")
    return last, transaction, page
