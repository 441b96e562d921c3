"""Elements of a rank's part, found again in the full weight by their number."""

import pytest
import torch

from megatron_redone.models.shards import Shard
from megatron_redone.training.places import places

FULL = torch.arange(12 * 6).view(12, 6)


def shard(full: torch.Tensor, dim: int | None, *ranges: tuple[int, int], padding: int = 0) -> Shard:
    whole = Shard(name="w", parameter=torch.nn.Parameter(torch.empty(0)), full_shape=tuple(full.shape), dim=dim,
                  ranges=ranges)  # fmt: skip
    held = torch.zeros(whole.take(full).shape[0] + padding, *whole.take(full).shape[1:])
    return Shard(name="w", parameter=torch.nn.Parameter(held), full_shape=tuple(full.shape), dim=dim, ranges=ranges)


@pytest.mark.parametrize("at_once", [1, 7, 1000])
@pytest.mark.parametrize(
    ("full", "dim", "ranges", "padding"),
    [
        (FULL, None, (), 0),
        (FULL, 0, ((0, 3), (6, 9)), 0),
        (FULL, 0, ((8, 12),), 4),
        (FULL, 0, ((12, 12),), 4),
        (FULL, 1, ((2, 4),), 0),
        (FULL[:, 0], 0, ((3, 6), (9, 12)), 0),
        (FULL[:, 0], None, (), 0),
    ],
)
def test_every_element_is_found_once(
    full: torch.Tensor, dim: int | None, ranges: tuple, padding: int, at_once: int
) -> None:
    part = shard(full, dim, *ranges, padding=padding)
    held = part.take(full).flatten()
    size = part.parameter.numel()
    matrix = full.view(len(full), -1)
    for first, last in ((0, size), (size // 3, size - size // 4), (1, 2), (5, 5)):
        found = torch.full((last - first,), -1)
        for place in places(part, first, last, at_once):
            corner, size_2d = (*place.offsets, 0)[:2], (*place.sizes, 1)[:2]
            cut = matrix[tuple(slice(at, at + count) for at, count in zip(corner, size_2d, strict=True))].flatten()
            start = place.first - first
            assert (found[start : start + len(cut)] == -1).all() and place.full_shape == full.shape
            assert size_2d[0] == 1 or len(cut) <= max(at_once, size_2d[1])
            found[start : start + len(cut)] = cut
        expected = torch.cat([held, torch.full((size - len(held),), -1)])[first:last]
        assert torch.equal(found, expected)
