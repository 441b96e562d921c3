"""What ranks hold alike is written once, an equal number of bytes by each."""

import torch

from megatron_redone.checkpoint.rectangles import Rectangle
from megatron_redone.checkpoint.values import a_range, renamed, share, whole


def place(key: str, *sizes: int) -> tuple[Rectangle, ...]:
    return (Rectangle(key=key, full_shape=sizes, offsets=(0,) * len(sizes), sizes=sizes),)


def test_shares_are_all_of_it_once_and_of_equal_size() -> None:
    held = [
        whole(place("a", 7, 3), torch.arange(21.0).view(7, 3)),
        whole(place("b", 5), torch.arange(5).bfloat16()),
        whole(place("c", 4, 2), torch.arange(8.0).view(4, 2)),
    ]
    total = sum(values.nbytes for values in held)
    for size in (1, 2, 3, 8, 64):
        shares = [share(held, rank, size) for rank in range(size)]
        for values in held:
            key = values.parts[0].key
            pieces = [tensor for mine in shares for v in mine if v.parts[0].key == key for _, tensor in v.pieces()]
            assert torch.equal(torch.cat(pieces), values.tensor.flatten())
        assert max(sum(values.nbytes for values in mine) for mine in shares) <= total / size + 4


def test_a_range_is_cut_at_the_borders_of_the_parts() -> None:
    gate, up = (Rectangle(key="fc1", full_shape=(8, 3), offsets=(at, 0), sizes=(2, 3)) for at in (2, 6))
    parts = (gate, Rectangle(key="fc1", full_shape=(8, 3), offsets=(6, 0), sizes=(2, 3), first=6))
    assert up.sizes == (2, 3)
    found = list(a_range(parts, torch.arange(4.0, 9.0), 4).pieces())
    assert [(piece.offsets, piece.sizes, tensor.tolist()) for piece, tensor in found] == [
        ((3, 1), (1, 2), [4.0, 5.0]),
        ((6, 0), (1, 3), [6.0, 7.0, 8.0]),
    ]


def test_pieces_are_the_memory_itself() -> None:
    tensor = torch.zeros(4, 3)
    for _, piece in renamed(whole(place("a", 4, 3), tensor), "optimizer.").pieces():
        piece.fill_(2.0)
    assert bool((tensor == 2).all())
    assert not list(a_range(place("a", 4, 3), torch.zeros(0), 5).pieces())
