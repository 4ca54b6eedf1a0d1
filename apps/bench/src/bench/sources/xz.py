"""Reader of xz files in bounded memory."""

import io
import lzma
from pathlib import Path

from bench.exceptions import BenchError

MAX_MEMORY = 1 << 28
"""Bytes for decompression, four times what `xz -9` needs. The header of a small file
can request 4 GiB."""

_READ_SIZE = 1 << 17


class XzFile(io.RawIOBase):
    """The decompressed content of an xz file.

    Reads concatenated streams, with zero bytes as padding after each of them.

    Args:
        path: path of the file.
        mode: mode of `open`; only for reading.
    """

    def __init__(self, path: Path, mode: str = "rb"):
        self._path = path
        self._file = path.open(mode)
        self._decoder = lzma.LZMADecompressor(memlimit=MAX_MEMORY)

    def readable(self) -> bool:
        """Returns True."""
        return True

    def readinto(self, buffer) -> int:
        """Reads bytes into a buffer; returns their number, 0 at the end of the file.

        Raises:
            BenchError: the file requests more memory than `MAX_MEMORY`.
            EOFError: the file is truncated.
            lzma.LZMAError: the file is damaged.
        """
        content = b""
        while not content:
            compressed = b""
            if self._decoder.eof:
                compressed = self._next_stream()
                if not compressed:
                    return 0
            elif self._decoder.needs_input:
                compressed = self._file.read(_READ_SIZE)
                if not compressed:
                    raise EOFError("it ends before its end-of-stream marker")
            content = self._decompress(compressed, len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _next_stream(self) -> bytes:
        """Returns the first bytes of the next stream; none at the end of the file."""
        compressed = self._decoder.unused_data.lstrip(b"\0")
        while not compressed:
            block = self._file.read(_READ_SIZE)
            if not block:
                return b""
            compressed = block.lstrip(b"\0")
        self._decoder = lzma.LZMADecompressor(memlimit=MAX_MEMORY)
        return compressed

    def _decompress(self, compressed: bytes, max_length: int) -> bytes:
        try:
            return self._decoder.decompress(compressed, max_length)
        except lzma.LZMAError as error:
            if "Memory usage limit" not in str(error):
                raise
            raise BenchError(
                f"{self._path} is rejected: according to its header, decompression "
                f"takes more than {MAX_MEMORY >> 20} MiB of memory; a file from "
                "`xz -9` needs a quarter of that."
            ) from error

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        super().close()
