"""Has the C library keep memory that was freed, for the next step of the training asks for the same again."""

import ctypes

# Numbers of glibc's mallopt (malloc.h).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST = 64 * 2**20


def keep_freed_memory() -> None:
    """Stops glibc from giving large blocks back to the system; does nothing under another C library.

    By default every tensor of more than some megabytes is mapped anew, and the kernel clears it page by page:
    a tenth to a quarter of a training step on two cores, and up to half in the first steps, while glibc is still
    adapting its threshold (tools/benchmarks/train_step_cpu.py).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
