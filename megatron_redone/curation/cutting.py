"""How much one task reads, and how much of all fingerprints one task compares.

Both grow only where there would be too many of them otherwise: every task of a pass over fingerprints opens the files
of every task that wrote some, so that these openings are as many as one number times the other.
"""

_TASK_BYTES, _LARGE_TASK_BYTES = 64 << 20, 256 << 20
_MANY_TASKS = 2048
_PART_BYTES, _LARGE_PART_BYTES = 256 << 20, 1 << 30
_MANY_PARTS = 512


def task_count(size: int) -> int:
    """Into how many parts an input of so many bytes is cut."""
    return _count(size, _TASK_BYTES, _LARGE_TASK_BYTES, _MANY_TASKS)


def part_count(size: int) -> int:
    """Into how many ranges of hashes the fingerprints of so many bytes of input are cut.

    A task that compares them holds 20 bytes for each document of its range: 40 MB for 256 MB of posts of 130 bytes.
    """
    return _count(size, _PART_BYTES, _LARGE_PART_BYTES, _MANY_PARTS)


def _count(size: int, small: int, large: int, many: int) -> int:
    return max(1, min(many, -(-size // small)), -(-size // large))
