"""A batch goes to a device whole, with everything that belongs to it."""

import dataclasses

import torch

from megatron_redone.batches.micro_batch import GlobalBatch, MicroBatch, PairColumns, to_device
from tests.helpers.runs import packed_row, random_rows


def pairs(slots: int) -> PairColumns:
    return PairColumns(
        numbers=torch.arange(2),
        responses=torch.zeros(1, slots, dtype=torch.long),
        lengths=torch.ones(4),
        prefixes=torch.zeros(3, 2, dtype=torch.int32),
        reference=torch.zeros(2, 2),
        rewards=torch.zeros(2, 2),
    )


def tensors(micro_batch: MicroBatch) -> dict[str, torch.Tensor]:
    found = {name: value for name, value in vars(micro_batch).items() if isinstance(value, torch.Tensor)}
    return found | ({} if micro_batch.pairs is None else vars(micro_batch.pairs))


def test_every_column_moves_and_what_is_not_there_stays_away() -> None:
    meta = torch.device("meta")
    row = dataclasses.replace(packed_row([3, 5], 100, 0), pairs=pairs(8))
    moved = row.to(meta)
    assert tensors(moved).keys() == tensors(row).keys() and len(tensors(row)) == 11
    for name, tensor in tensors(moved).items():
        before = tensors(row)[name]
        assert tensor.device == meta and (tensor.shape, tensor.dtype) == (before.shape, before.dtype)
    plain = random_rows(2, 8, 100, 0).to(meta)
    assert plain.cu_seqlens is None and plain.pairs is None


def test_nothing_is_copied_to_where_it_is() -> None:
    batch = random_rows(2, 8, 100, 0)
    assert batch.to(torch.device("cpu")).tokens is batch.tokens
    assert to_device(batch.labels, torch.device("cpu")) is batch.labels


def test_pinning_reaches_every_tensor(monkeypatch) -> None:
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    row = dataclasses.replace(packed_row([3, 5], 100, 0), pairs=pairs(8))
    batch = GlobalBatch(micro_batches=[row, row], consumed_samples=4, tokens=16).pin()
    assert (batch.consumed_samples, batch.tokens, len(batch.micro_batches)) == (4, 16, 2)
    assert len(pinned) == 22
