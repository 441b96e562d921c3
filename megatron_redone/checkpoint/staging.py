"""A copy of what a rank writes, in the host's memory: training goes on and changes the original.

The memory is taken once and used for every save. That of a GPU is copied to page-locked memory, which takes as long as
the bus needs. Slabs have a power of two bytes, to which torch rounds page-locked memory up.
"""

import copy
import dataclasses
from collections.abc import Iterable, Iterator

import torch

from megatron_redone.checkpoint.rank_part import RankState
from megatron_redone.checkpoint.values import Values

_SLAB_BYTES = 64 << 20
_ALIGNMENT = 16  # of a range's first byte: of any type that torch has


class Staging:
    """The memory for copies of one rank's state, one at a time."""

    def __init__(self, slab_bytes: int = _SLAB_BYTES) -> None:
        """Takes no memory yet.

        Args:
            slab_bytes: Of which the memory consists; a multiple of 16.
        """
        self._slab_bytes = slab_bytes
        self._slabs: list[torch.Tensor] = []

    def copy(self, state: RankState) -> RankState:
        """The same values, in memory of their own until the next copy is made; complete when it returns."""
        is_on_gpu = any(values.tensor.is_cuda for values in state.values)
        values = list(self._copied(state.values, is_on_gpu))
        if is_on_gpu:
            torch.cuda.current_stream().synchronize()
        return RankState(values=values, objects=copy.deepcopy(state.objects), common=copy.deepcopy(state.common))

    def _copied(self, state: Iterable[Values], pinned: bool) -> Iterator[Values]:
        number, used = 0, 0
        for values in state:
            flat = values.elements()
            first, size = 0, flat.dtype.itemsize
            while first < len(flat):
                room = (self._slab_bytes - used) // size
                if room == 0:
                    number, used = number + 1, 0
                    continue
                last = min(first + room, len(flat))
                target = self._slab(number, pinned)[used : used + (last - first) * size].view(flat.dtype)
                target.copy_(flat[first:last], non_blocking=pinned)
                origin = values.first + first
                yield dataclasses.replace(
                    values, tensor=target, origin=origin, first=origin, last=origin + last - first
                )
                used += -(-target.nbytes // _ALIGNMENT) * _ALIGNMENT
                first = last

    def _slab(self, number: int, pinned: bool) -> torch.Tensor:
        while number >= len(self._slabs):
            self._slabs.append(torch.empty(self._slab_bytes, dtype=torch.uint8, pin_memory=pinned))
        return self._slabs[number]
