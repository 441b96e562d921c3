"""A schedule sees every micro-batch once and in order, and each chunk gets all of them."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from megatron_redone.objectives import micro_batches as module
from megatron_redone.objectives.micro_batches import run_micro_batches


class Batch:
    def __init__(self, number: int, shape: tuple[int, int] = (2, 8)) -> None:
        self.number, self.tokens = number, torch.zeros(shape)


class Pass:
    """A forward pass that notes what it placed."""

    def __init__(self) -> None:
        self.row_placer, self.placed = self, list[int]()

    def place(self, batch: Batch) -> int:
        self.placed.append(batch.number)
        return batch.number

    def forward_step(self, batches: Iterator[int], chunk: Any) -> int:
        return next(batches)


def schedule(**keys: Any) -> list[Any]:
    """Takes the micro-batches through the chunks as an interleaved schedule does: by each of them, in turn."""
    chunks = keys["model"] if isinstance(keys["model"], list) else [keys["model"]]
    data = keys["data_iterator"] if isinstance(keys["model"], list) else [keys["data_iterator"]]
    assert (keys["micro_batch_size"], keys["seq_length"]) == (2, 8) and keys["forward_only"]
    return [
        [keys["forward_step_func"](batches, chunk) for chunk, batches in zip(chunks, data, strict=True)]
        for _ in range(keys["num_microbatches"])
    ]


@pytest.mark.parametrize("chunks", [1, 3])
def test_every_chunk_reads_the_same_micro_batches_which_are_placed_once(
    monkeypatch: pytest.MonkeyPatch, chunks: int
) -> None:
    monkeypatch.setattr(module, "get_forward_backward_func", lambda: schedule)
    forward_pass: Any = Pass()
    batches: Any = [Batch(number) for number in range(4)]
    model = [torch.nn.Identity() for _ in range(chunks)]
    found = run_micro_batches(model, forward_pass, batches, forward_only=True)
    assert found == [[number] * chunks for number in range(4)]
    assert forward_pass.placed == [0, 1, 2, 3]


def test_nothing_and_rows_of_two_shapes_are_bugs() -> None:
    forward_pass: Any = Pass()
    for batches in ([], [Batch(0), Batch(1, (2, 9))]):
        with pytest.raises(AssertionError, match=r"needs a micro-batch|differ in shape"):
            run_micro_batches([torch.nn.Identity()], forward_pass, batches, forward_only=True)  # type: ignore[arg-type]
