"""Weights and optimizer as what this rank writes into a checkpoint, and the way back; it loads on any layout."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from megatron.core.dist_checkpointing.mapping import is_main_replica
from megatron.core.fp8_utils import is_float8tensor, post_all_gather_processing
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.optimizer import MegatronOptimizer

from megatron_redone.checkpoint.rank_part import RankState
from megatron_redone.checkpoint.storage import StoredState
from megatron_redone.checkpoint.values import Values, renamed, share, whole
from megatron_redone.models.set_weight import set_weight
from megatron_redone.training.main_weights import optimizer_parts
from megatron_redone.training.optimizer_state import (
    iterate_held,
    load_settings,
    main_prefix,
    optimizer_settings,
    set_state,
    wanted_values,
)
from megatron_redone.training.tensor_places import ChunkPlaces, Place, find_places, places_by_parameter


def weights_state(chunks: Sequence[GPTModel]) -> RankState:
    """The weights that this rank writes: its share of what the data-parallel ranks hold alike."""
    found = [find_places(chunk) for chunk in chunks]
    return RankState(values=list(_shared(_weights(found))), objects=_objects(found))


def full_state(chunks: Sequence[GPTModel], optimizer: MegatronOptimizer) -> RankState:
    """Weights and optimizer, as far as this rank writes them. Nothing is copied, except FP8 weights one by one.

    Args:
        chunks: This rank's model chunks, unwrapped.
        optimizer: Built over them.
    """
    gather_weights(optimizer)
    found = [find_places(chunk) for chunk in chunks]
    held = [entry for entry in iterate_held(optimizer, places_by_parameter(found)) if entry.place.is_first]
    own = [entry.values(name) for entry in held if entry.is_distributed for name in entry.tensors]
    alike = [(entry.place, entry.values(name)) for entry in held if not entry.is_distributed for name in entry.tensors]
    return RankState(
        values=[*_shared([*_weights(found), *alike]), *own],
        objects=_objects(found),
        common={"optimizer": optimizer_settings(optimizer)},
    )


def _weights(chunks: Sequence[ChunkPlaces]) -> list[tuple[Place, Values]]:
    """The weights of model chunks, without those that another tensor- or pipeline-parallel rank writes."""
    entries = [(chunk.places[name], tensor) for chunk in chunks for name, tensor in chunk.tensors.items()]
    return [(place, whole(place.parts, tensor)) for place, tensor in entries if place.is_first]


def _shared(entries: Sequence[tuple[Place, Values]]) -> Iterator[Values]:
    """Of what several data-parallel ranks hold alike, this rank's share."""
    for replica, replicas in dict.fromkeys((place.replica, place.replicas) for place, _ in entries):
        alike = [values for place, values in entries if (place.replica, place.replicas) == (replica, replicas)]
        yield from share(alike, replica, replicas)


def _objects(chunks: Sequence[ChunkPlaces]) -> dict[str, object]:
    entries = [entry for chunk in chunks for entry in chunk.objects.values()]
    return {entry.unique_key: entry.data for entry in entries if is_main_replica(entry.replica_id)}


def gather_weights(optimizer: MegatronOptimizer) -> None:
    """Completes the weights that the next forward pass would gather (overlap_param_gather); else does nothing.

    Called by all ranks of the data-parallel group.
    """
    for part in optimizer_parts(optimizer):
        for chunk in getattr(part, "model_chunks", []):
            if chunk.ddp_config.overlap_param_gather:
                chunk.start_param_sync(force_sync=True)
                # The next forward pass finds them gathered, and would leave out what it does to FP8 weights then.
                post_all_gather_processing([weight for weight in chunk.parameters() if is_float8tensor(weight)])


def load_weights(chunks: Sequence[GPTModel], checkpoint: Path) -> None:
    """Takes the weights of a checkpoint and nothing else. Waits for no other rank.

    Raises:
        UserError: the checkpoint is damaged, or of another model.
    """
    with StoredState(checkpoint) as stored:
        for chunk in chunks:
            places = find_places(chunk)
            _fill_weights(places, stored, from_main=False)
            _load_objects(chunk, places, stored)


def load_full(chunks: Sequence[GPTModel], optimizer: MegatronOptimizer, checkpoint: Path) -> None:
    """Takes weights and the optimizer's state from a checkpoint of any layout. Waits for no other rank.

    Raises:
        UserError: the checkpoint is damaged, or of another model.
    """
    with StoredState(checkpoint) as stored:
        found = [find_places(chunk) for chunk in chunks]
        for chunk, places in zip(chunks, found, strict=True):
            _fill_weights(places, stored, from_main=True)
            _load_objects(chunk, places, stored)
        load_settings(optimizer, stored.common["optimizer"])
        held = list(iterate_held(optimizer, places_by_parameter(found)))
        stored.fill(wanted_values(held, stored))
        set_state(optimizer, held)


def _fill_weights(chunk: ChunkPlaces, stored: StoredState, from_main: bool) -> None:
    wanted, rounded = [], []
    for name, tensor in chunk.tensors.items():
        place, target = chunk.places[name], tensor
        if is_float8tensor(tensor):
            target = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
            rounded.append((tensor, target))
        # An fp32 run that goes on from a bf16 one has main weights to take, which are not rounded.
        is_finer = from_main and target.dtype is torch.float32 and stored.dtype(place.parts[0].key) != target.dtype
        wanted.append(renamed(whole(place.parts, target), main_prefix(place, stored) if is_finer else ""))
    stored.fill(wanted)
    for tensor, target in rounded:
        set_weight(tensor, target)  # type: ignore[arg-type]


def _load_objects(chunk: GPTModel, places: ChunkPlaces, stored: StoredState) -> None:
    """Sets what modules keep besides weights. A module that a checkpoint knows nothing of begins anew."""
    keys = {name: entry.unique_key for name, entry in places.objects.items() if entry.unique_key in stored}
    set_objects(chunk, {name: stored.read_object(key) for name, key in keys.items()})


def set_objects(chunk: GPTModel, objects: dict[str, object]) -> None:
    """Hands modules what they keep besides weights, by its names in the module."""
    for name, value in objects.items():
        # Delayed scales of emulated FP8, for a layer that has none: Transformer Engine's would fail on them.
        is_ours = isinstance(value, torch.Tensor) and value.dtype is torch.float32
        if is_ours and not hasattr(chunk.get_submodule(name.rpartition(".")[0]), "scaling"):
            objects[name] = None
    unknown = chunk.load_state_dict(objects, strict=False).unexpected_keys
    assert not unknown, unknown
