"""Where in the full model each tensor of this rank's model chunks lies, as megatron-core says for checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from megatron.core.dist_checkpointing.mapping import ShardedObject, is_main_replica
from megatron.core.models.gpt.gpt_model import GPTModel

from megatron_redone.checkpoint.rectangles import Rectangle, rectangles_of

_NORM_STATE = "layernorm._extra_state"


@dataclass(frozen=True)
class Place:
    """The place of a tensor, and who else holds the same.

    Attributes:
        parts: The rectangles of full tensors that it consists of; their keys count layers over the whole model.
        is_first: Whether no earlier tensor- or pipeline-parallel rank holds the same values.
        replica: The number of this rank among the data-parallel ranks that hold the same.
        replicas: How many these are.
    """

    parts: tuple[Rectangle, ...]
    is_first: bool
    replica: int
    replicas: int


@dataclass(frozen=True)
class ChunkPlaces:
    """What one model chunk holds.

    Attributes:
        tensors: Its weights and buffers, by their names in the module.
        places: Of these.
        objects: What its modules keep besides, such as the scales of FP8, by the same kind of names.
    """

    tensors: dict[str, torch.Tensor]
    places: dict[str, Place]
    objects: dict[str, ShardedObject]


def find_places(chunk: GPTModel) -> ChunkPlaces:
    """What a model chunk, unwrapped, holds.

    Without the state that Transformer Engine's norms claim to have, which is empty: no other backend writes it.
    """
    found = ChunkPlaces({}, {}, {})
    for name, entry in chunk.sharded_state_dict().items():
        if isinstance(entry, ShardedObject):
            if not name.endswith(_NORM_STATE):
                found.objects[name] = entry
            continue
        # The last number counts data-parallel ranks. Those of experts, which they hold apart, are others.
        *others, replica = entry.replica_id
        is_expert = not getattr(entry.data, "allreduce", True)
        group = chunk.pg_collection.expt_dp if is_expert else chunk.pg_collection.dp_cp
        found.tensors[name] = entry.data
        found.places[name] = Place(rectangles_of(entry), is_main_replica(tuple(others)), replica, group.size())
    return found


def places_by_parameter(chunks: Sequence[ChunkPlaces]) -> dict[torch.Tensor, Place]:
    """The place of every parameter, for whoever has the parameter and not its name."""
    return {tensor: chunk.places[name] for chunk in chunks for name, tensor in chunk.tensors.items()}
