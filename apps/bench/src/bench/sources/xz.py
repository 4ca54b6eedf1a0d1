"""Files packed by xz, unpacked in bounded memory."""

import io
import lzma
from pathlib import Path

from bench.exceptions import BenchError

MEMORY = 1 << 28
"""Bytes that unpacking may take: the head of a file of a few bytes may ask for 4 GiB.
`xz -9` takes a quarter of it."""

_PIECE = 1 << 17


class Xz(io.RawIOBase):
    """The content of a file of one or more streams, zeros behind which are padding.

    Args:
        path: of the file.
        mode: as of `open`; files are only read.
    """

    def __init__(self, path: Path, mode: str = "rb"):
        self._path = path
        self._file = path.open(mode)
        self._decoder = lzma.LZMADecompressor(memlimit=MEMORY)

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer) -> int:
        """Fills a buffer, or its beginning; nothing at the end.

        Raises:
            BenchError: it asks for more memory than `MEMORY`.
            EOFError: it is cut.
            lzma.LZMAError: it is damaged.
        """
        content = b""
        while not content:
            packed = b""
            if self._decoder.eof:
                packed = self._next_stream()
                if not packed:
                    return 0
            elif self._decoder.needs_input:
                packed = self._file.read(_PIECE)
                if not packed:
                    raise EOFError("it ends before its end-of-stream marker")
            content = self._unpack(packed, len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _next_stream(self) -> bytes:
        """The beginning of the next stream; nothing at the end of the file."""
        packed = self._decoder.unused_data.lstrip(b"\0")
        while not packed:
            piece = self._file.read(_PIECE)
            if not piece:
                return b""
            packed = piece.lstrip(b"\0")
        self._decoder = lzma.LZMADecompressor(memlimit=MEMORY)
        return packed

    def _unpack(self, packed: bytes, most: int) -> bytes:
        try:
            return self._decoder.decompress(packed, most)
        except lzma.LZMAError as error:
            if "Memory usage limit" not in str(error):
                raise
            raise BenchError(
                f"{self._path} is refused: unpacking it takes more than "
                f"{MEMORY >> 20} MiB of memory, as its head says; `xz -9` packs it so "
                "that a quarter of that is enough."
            ) from error

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        super().close()
