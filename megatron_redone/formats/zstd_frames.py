"""The content of a zstd file, frame after frame, which tells a file that was cut off from a whole one."""

import io
from typing import Any, BinaryIO

# Bytes of the file that are decompressed at once: of the densest there are, they make an eighth of a gigabyte.
_AT_ONCE = 1 << 12


class ZstdFrames(io.RawIOBase):
    """A stream of what the frames of a file hold.

    `zstandard`'s own streams end without an error where a frame breaks off: half a corpus is then read as a whole one.
    """

    def __init__(self, stored: BinaryIO, decompressor: Any) -> None:
        """Reads nothing yet.

        Args:
            stored: The file.
            decompressor: A `zstandard.ZstdDecompressor`.
        """
        self._stored, self._decompressor = stored, decompressor
        self._frame: Any = None
        self._read = b""
        self._content = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer as far as there is content.

        Raises:
            EOFError: the file ends within a frame.
            ZstdError: what stands there is no frame, or a damaged one.
        """
        filled, size = 0, len(buffer)
        while filled < size and (self._content or self._decompress()):
            part = self._content[: size - filled]
            buffer[filled : filled + len(part)] = part
            self._content = self._content[len(part) :]
            filled += len(part)
        return filled

    def _decompress(self) -> bool:
        """Makes more content; False at the end of the file."""
        while not self._content:
            self._read = self._read or self._stored.read(_AT_ONCE)
            if not self._read:
                if self._frame is not None:
                    raise EOFError("the file ends within a zstd frame")
                return False
            self._frame = self._frame or self._decompressor.decompressobj()
            self._content = memoryview(self._frame.decompress(self._read))
            self._read = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        return True
