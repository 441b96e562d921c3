"""The head of a safetensors file. The library itself puts what is said of a file in an order that chance decides."""

import json
from collections.abc import Iterable, Mapping, Sequence


def safetensors_header(metadata: Mapping[str, str], tensors: Iterable[tuple[str, str, Sequence[int], int]]) -> bytes:
    """What stands before the tensors, which follow each other without a gap.

    Args:
        metadata: What is said of the file, in this order.
        tensors: Of each its name, its type as the format calls it (`F32`), its shape, and its bytes.
    """
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
    at = 0
    for name, dtype, shape, size in tensors:
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # numbers begin at a multiple of their size
    return len(text).to_bytes(8, "little") + text
