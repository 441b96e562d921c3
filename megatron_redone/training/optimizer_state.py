"""What an optimizer holds on this rank, as ranges of full tensors: main weights and moments.

In the distributed optimizer a rank holds a range of each parameter of its model chunks, whatever the bucket it lies in.
Keys and shapes are those of megatron-core's `fully_reshardable` checkpoints, in which the state has the shape of the
weights; megatron-core gathers it for that over the data-parallel ranks.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from megatron.core.optimizer import MegatronOptimizer
from megatron.core.optimizer.cpu_offloading import HybridDeviceOptimizer
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
from megatron.core.optimizer.optimizer import Float16OptimizerWithFloat16Params

from megatron_redone.checkpoint.storage import StoredState
from megatron_redone.checkpoint.values import Values, a_range, renamed
from megatron_redone.errors import UserError
from megatron_redone.training.main_weights import optimizer_parts
from megatron_redone.training.tensor_places import Place

Places = Mapping[torch.Tensor, Place]

_STATE = "optimizer.state."
# How megatron-core calls main weights where they are distributed, and where they are not.
_DISTRIBUTED_MAIN, _WHOLE_MAIN = "param", "fp32_param"
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Held:
    """The state of one parameter, as this rank holds it.

    Attributes:
        weight: The parameter of the model.
        place: Of the parameter.
        first: The element of the flattened parameter with which all of the tensors begin.
        tensors: By megatron-core's names. Not copies, except where `set_state` is needed to change them.
        is_distributed: Whether no other data-parallel rank holds the same.
    """

    weight: torch.Tensor
    place: Place
    first: int
    tensors: Mapping[str, torch.Tensor]
    is_distributed: bool

    def values(self, name: str, prefix: str | None = None) -> Values:
        """One of the tensors; in a checkpoint it has the keys of the weights behind a prefix."""
        return renamed(a_range(self.place.parts, self.tensors[name], self.first), prefix or f"{_STATE}{name}.")


def iterate_held(optimizer: MegatronOptimizer, places: Places) -> Iterator[Held]:
    """The state of every parameter of which this rank holds a part."""
    for part in optimizer_parts(optimizer):
        yield from _held_ranges(part, places) if isinstance(part, DistributedOptimizer) else _held_whole(part, places)


def _held_ranges(part: DistributedOptimizer, places: Places) -> Iterator[Held]:
    for buffer in part.gbuf_ranges:
        for bucket in (bucket for buckets in buffer.values() for bucket in buckets):
            for weight, ranges in bucket["param_map"].items():
                state = part._get_main_param_and_optimizer_states(weight)
                tensors = {name: state[name] for name in (_DISTRIBUTED_MAIN, *_MOMENTS) if name in state}
                yield Held(weight, places[weight], ranges["param"].start, tensors, is_distributed=True)


def _held_whole(part: Any, places: Places) -> Iterator[Held]:
    mains = {}
    if isinstance(part, Float16OptimizerWithFloat16Params):
        for weights, found in zip(part.float16_groups, part.fp32_from_float16_groups, strict=True):
            mains.update(zip(found, weights, strict=True))
    for main in (main for group in part.optimizer.param_groups for main in group["params"]):
        moments = {name: part.optimizer.state[main][name] for name in _MOMENTS if name in part.optimizer.state[main]}
        weight = mains.get(main, main)
        tensors = moments if weight is main else {_WHOLE_MAIN: main, **moments}
        yield Held(weight, places[weight], 0, tensors, is_distributed=False)


def optimizer_settings(optimizer: MegatronOptimizer) -> dict[Any, Any]:
    """What is common to all ranks: the parameter groups with learning rate and step, in megatron-core's arrangement."""
    parts = optimizer_parts(optimizer)
    if len(parts) > 1:
        optimizer._synchronize_steps()  # type: ignore[attr-defined]
    found = [_without_classes(_settings(part)) for part in parts]
    return found[0] if len(found) == 1 else dict(enumerate(found))


def _settings(part: Any) -> dict[str, Any]:
    if isinstance(part, DistributedOptimizer):
        return {**part.state_dict(), "param_state_sharding_type": "fully_reshardable"}
    groups = [{key: value for key, value in group.items() if key != "params"} for group in part.optimizer.param_groups]
    own = {"param_groups": groups}
    return {"optimizer": own} if isinstance(part, Float16OptimizerWithFloat16Params) else own


def _without_classes(state: Any) -> Any:
    """Leaves out Python classes, which a checkpoint cannot be trusted to name.

    Under optimizer_offload_fraction every parameter group holds those of its optimizers.
    """
    if isinstance(state, dict):
        return {key: _without_classes(value) for key, value in state.items() if not isinstance(value, type)}
    return [_without_classes(value) for value in state] if isinstance(state, list) else state


def load_settings(optimizer: MegatronOptimizer, stored: Mapping[Any, Any]) -> None:
    """Sets learning rates and steps, and makes the tensors of the state where there are none yet.

    Raises:
        UserError: the checkpoint's parameter groups are not those of this optimizer.
    """
    parts = optimizer_parts(optimizer)
    for number, part in enumerate(parts):
        own = stored if len(parts) == 1 else stored.get(number, {})
        groups = own.get("optimizer", own).get("param_groups")
        try:
            _load_groups(part, [dict(group) for group in groups])
        except (KeyError, ValueError, TypeError) as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise UserError(f"common.pt: its parameter groups are not those of this optimizer ({reason})") from None


def _load_groups(part: Any, groups: list[dict[str, Any]]) -> None:
    if isinstance(part, DistributedOptimizer):
        part.load_state_dict({"optimizer": {"param_groups": groups}})
        return
    part.init_state_fn(part.optimizer, part.config)
    own = part.optimizer.param_groups
    matching = part._filter_and_reorder_param_groups(own, [{**group, "params": []} for group in groups])
    for group, found in zip(own, matching, strict=True):
        group.update({key: value for key, value in found.items() if key != "params"})


def wanted_values(held: Iterable[Held], stored: StoredState) -> Iterator[Values]:
    """What is to be read, under the names that the checkpoint has: it may be of the other kind of optimizer."""
    for entry in held:
        for name in entry.tensors:
            prefix = f"{_STATE}{name}." if name in _MOMENTS else main_prefix(entry.place, stored)
            # An fp32 run without the distributed optimizer has no main weights besides the weights.
            yield entry.values(name, prefix) if prefix else a_range(entry.place.parts, entry.tensors[name], entry.first)


def main_prefix(place: Place, stored: StoredState) -> str:
    """What stands before the key of a weight for its main weight; nothing where the checkpoint has no main weights."""
    prefixes = (f"{_STATE}{name}." for name in (_DISTRIBUTED_MAIN, _WHOLE_MAIN))
    return next((prefix for prefix in prefixes if prefix + place.parts[0].key in stored), "")


def set_state(optimizer: MegatronOptimizer, held: Iterable[Held]) -> None:
    """Hands the state back to optimizers that gave copies of it, or that hold more copies themselves."""
    parts = [part for part in optimizer_parts(optimizer) if isinstance(part, DistributedOptimizer)]
    aware = [part for part in parts if part.config.use_precision_aware_optimizer_no_fp8_or_ds_fp8]
    for entry in held if aware else ():
        part = next(part for part in aware if entry.weight in part.model_param_gbuf_map)
        part._set_main_param_and_optimizer_states(entry.weight, dict(entry.tensors))
    for part in aware:
        if isinstance(part.optimizer, HybridDeviceOptimizer):
            part.optimizer._sync_hdo_state_to_sub_optimizers()
