"""The optimizer's state in the shape of the weights, not copied where no other rank holds a part of it.

megatron-core gathers it for a checkpoint: shares, what is received and the whole lie in memory beside the state
itself, three times what the state takes. In a data-parallel group of one there is nothing to gather.
"""

from functools import partial
from typing import Any

import torch
from megatron.core.optimizer import MegatronOptimizer
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

_KEYS = ("param", "exp_avg", "exp_avg_sq")


def keep_state_in_place(optimizer: MegatronOptimizer) -> None:
    """Has an optimizer whose data-parallel group is of one hand out its own tensors, to be saved and loaded into."""
    for part in getattr(optimizer, "chained_optimizers", [optimizer]):
        if isinstance(part, DistributedOptimizer) and part.data_parallel_group.size() == 1:
            part.get_parameter_state_dp_zero = partial(_own_state, part)  # type: ignore[method-assign]


def _own_state(part: DistributedOptimizer, **_: Any) -> dict[Any, Any]:
    """What `DistributedOptimizer.get_parameter_state_dp_zero` gives, of which megatron-core cuts out each weight's."""
    state: dict[Any, Any] = {"buckets_coalesced": True}
    for number, (ranges, buffer) in enumerate(zip(part.gbuf_ranges, part.buffers, strict=True)):
        ((dtype, buckets),) = ranges.items()
        whole = {key: _Whole() for key in _KEYS}
        for weight in (weight for bucket in buckets for weight in bucket["param_map"]):
            tensors = part._get_main_param_and_optimizer_states(weight)
            for key in _KEYS:
                whole[key].put(buffer.param_index_map[weight][0], tensors[key].detach().view(-1))
        state[number] = {dtype: whole}
    return state


class _Whole:
    """Stands for a flat tensor over all weights that is only ever cut at their borders."""

    def __init__(self) -> None:
        self._parts: dict[int, torch.Tensor] = {}

    def put(self, start: int, part: torch.Tensor) -> None:
        """Takes the part that begins at an element."""
        self._parts[start] = part

    def __getitem__(self, borders: slice) -> torch.Tensor:
        part = self._parts[borders.start]
        assert part.numel() == borders.stop - borders.start, "a data-parallel group of one holds whole weights"
        return part
