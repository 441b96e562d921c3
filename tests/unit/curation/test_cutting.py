"""How many tasks and parts an input becomes: small ones, until there would be thousands."""

import pytest

from megatron_redone.curation.cutting import part_count, task_count


@pytest.mark.parametrize(
    ("size", "tasks", "parts"),
    [
        (1, 1, 1),
        (64 << 20, 1, 1),
        ((64 << 20) + 1, 2, 1),
        (1 << 30, 16, 4),
        (128 << 30, 2048, 512),
        (512 << 30, 2048, 512),
        (1 << 40, 4096, 1024),
    ],
)
def test_both_grow_with_the_input(size: int, tasks: int, parts: int) -> None:
    assert (task_count(size), part_count(size)) == (tasks, parts)


def test_more_input_is_never_cut_into_fewer() -> None:
    sizes = [round(1.1**power) for power in range(330)]
    for count in (task_count, part_count):
        counts = [count(size) for size in sizes]
        assert counts == sorted(counts)
