"""Frames of zstd as zstandard writes them: whole, several in one file, and cut off anywhere."""

import io
import random

import pytest
import zstandard

from megatron_redone.formats.zstd_frames import ZstdFrames

PARTS = (b"", b"x", b"a line\n" * 40_000, random.Random(0).randbytes(9_000), b"end")
FRAMES = [zstandard.compress(part) for part in PARTS]


def read(stored: bytes, at_once: int = -1) -> bytes:
    stream = ZstdFrames(io.BytesIO(stored), zstandard.ZstdDecompressor())
    return stream.read() if at_once < 0 else b"".join(iter(lambda: stream.read(at_once), b""))


@pytest.mark.parametrize("at_once", [-1, 1_000, 1 << 22])
def test_the_content_of_all_frames_one_after_the_other(at_once: int) -> None:
    assert read(b"".join(FRAMES), at_once) == b"".join(PARTS)


def test_a_file_of_nothing_holds_nothing() -> None:
    assert read(b"") == b""


def test_a_frame_that_is_to_be_skipped_holds_nothing() -> None:
    skipped = (0x184D2A50).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    assert read(FRAMES[1] + skipped + FRAMES[4]) == b"xend"


def test_a_file_that_ends_within_a_frame_is_told_from_one_that_ends_behind_it() -> None:
    whole, ends = b"".join(FRAMES), {sum(map(len, FRAMES[:count])) for count in range(len(FRAMES) + 1)}
    for length in range(len(whole)):
        if length in ends:
            read(whole[:length])
        else:
            with pytest.raises(EOFError, match="ends within a zstd frame"):
                read(whole[:length])


def test_what_is_no_frame_is_zstandards_error() -> None:
    with pytest.raises(zstandard.ZstdError):
        read(FRAMES[2] + b"no frame")


def test_the_densest_frame_takes_little_memory_at_once() -> None:
    writer = zstandard.ZstdCompressor().compressobj()
    stored = io.BytesIO(b"".join(writer.compress(bytes(1 << 20)) for _ in range(512)) + writer.flush())
    stream = ZstdFrames(stored, zstandard.ZstdDecompressor())
    assert stream.read(10) == bytes(10)
    assert stored.tell() < len(stored.getvalue()) / 2
