"""A copy that stays what it was, read back from a checkpoint bit by bit."""

from pathlib import Path

import torch

from megatron_redone.checkpoint.rank_part import RankState
from megatron_redone.checkpoint.rectangles import Rectangle
from megatron_redone.checkpoint.staging import Staging
from megatron_redone.checkpoint.storage import StoredState
from megatron_redone.checkpoint.values import Values, a_range, whole
from tests.helpers.sharded_saves import save_sharded


def place(key: str, *sizes: int) -> tuple[Rectangle, ...]:
    return (Rectangle(key=key, full_shape=sizes, offsets=(0,) * len(sizes), sizes=sizes),)


def held() -> tuple[list[torch.Tensor], RankState]:
    """Tensors of types of several sizes, one as a range that begins within it and within its memory."""
    tensors = [
        torch.arange(60.0).view(12, 5),
        torch.arange(7).bfloat16(),
        torch.arange(40.0),
        torch.arange(3.0).double(),
    ]
    values = [
        whole(place("weight", 12, 5), tensors[0]),
        whole(place("narrow", 7), tensors[1]),
        a_range(place("flat", 60), tensors[2][:30], 0),
        Values(parts=place("flat", 60), tensor=tensors[2][10:], origin=10, first=30, last=40),
        a_range(place("flat", 60), torch.arange(40.0, 60.0), 40),
        whole(place("wide", 3), tensors[3]),
    ]
    return tensors, RankState(values=values, objects={"x/shard_0_1": {"n": [1]}}, common={"groups": [{"step": 1}]})


def test_a_copy_stays_what_it_was_whatever_the_size_of_a_slab(tmp_path: Path) -> None:
    for number, slab_bytes in enumerate((32, 48, 1 << 20)):
        folder = tmp_path / str(number)
        folder.mkdir()
        tensors, state = held()
        staged = Staging(slab_bytes).copy(state)
        for tensor in tensors:
            tensor.fill_(-1)
        state.objects["x/shard_0_1"]["n"].append(2)
        state.common["groups"][0]["step"] = 2
        save_sharded(staged, folder)
        _, wanted = held()
        with StoredState(folder) as stored:
            for values in wanted.values:
                read = torch.zeros_like(values.elements())
                stored.fill([a_range(values.parts, read, values.first)])
                assert torch.equal(read, values.elements())
            assert stored.read_object("x/shard_0_1") == {"n": [1]} and stored.common == {"groups": [{"step": 1}]}


def test_memory_is_taken_once() -> None:
    staging, (_, state) = Staging(64), held()
    first, second = ([values.tensor.data_ptr() for values in staging.copy(state).values] for _ in range(2))
    assert first == second
