"""Where a thread is, and whether it waits there for other ranks."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

# Files whose innermost frames wait for other ranks. With NCCL the host waits for its device instead, elsewhere.
_WAITING = (
    os.path.join("torch", "distributed", ""),
    os.path.join("megatron", "core", "pipeline_parallel", "p2p_communication.py"),
    os.path.join("megatron", "core", "distributed", "param_and_grad_buffer.py"),
    os.path.join("megatron", "core", "tensor_parallel", "mappings.py"),
    os.path.join("megatron_redone", "distributed", "collectives.py"),
)
_INNERMOST = 4  # frames in which one of these files is looked for
_OURS = os.path.join("megatron_redone", "")


@dataclass(frozen=True)
class Place:
    """A point in the program.

    Attributes:
        text: Such as `read_tokens, indexed.py:88`; of our own code where the thread came through it.
        waits: Whether it waits for other ranks there.
    """

    text: str
    waits: bool


def place_of(thread: int) -> Place:
    """Where a thread is now.

    Args:
        thread: Its `ident`.
    """
    frames = list(_frames(sys._current_frames().get(thread)))
    waits = any(part in frame.f_code.co_filename for frame in frames[:_INNERMOST] for part in _WAITING)
    if not frames:
        return Place("nowhere: the thread has ended", False)
    shown = [_text(frames[0])]
    ours = next((frame for frame in frames if _OURS in frame.f_code.co_filename), None)
    if ours is not None and ours is not frames[0]:
        shown.append(_text(ours))
    return Place(" from ".join(shown), waits)


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """From the innermost one outwards."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _text(frame: FrameType) -> str:
    return f"{frame.f_code.co_name} ({os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno})"
