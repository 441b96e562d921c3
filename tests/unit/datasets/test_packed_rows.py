"""Rows hold every conversation once and whole, and what does not fit is counted or refused."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from megatron_redone.config.data import BlendSource
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.config.sft_data import SftDataConfig, TooLong
from megatron_redone.datasets.batch_reader import BatchReader
from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.packed_rows import PackedRows, open_packed_blend, packed_collate
from megatron_redone.datasets.validation import ValidationSet
from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.errors import UserError
from tests.helpers.masked_data import random_conversations, write_conversations

LENGTHS = np.random.default_rng(0).integers(2, 65, 300).tolist()


def config(**changes: object) -> SftDataConfig:
    return SftDataConfig(**{"blend": [BlendSource(path="a")], "seq_length": 64, **changes})  # type: ignore[arg-type]


def test_an_epoch_reads_every_conversation_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    conversations = random_conversations(LENGTHS, 500, seed=1)
    rows = PackedRows(str(write_conversations(tmp_path / "a", conversations, 500)), config(), shuffle=True)
    epochs = []
    for epoch in range(2):
        numbers = range(epoch * rows.samples_per_epoch, (epoch + 1) * rows.samples_per_epoch)
        read = [segment for number in numbers for segment in rows.row(number)]
        assert sorted(ids.tobytes() + mask.tobytes() for ids, mask in read) == sorted(
            ids.tobytes() + mask.tobytes() for ids, mask in conversations
        )
        epochs.append([ids.tobytes() for ids, _ in read])
    assert epochs[0] != epochs[1] and rows.efficiency > 0.95


def test_a_row_becomes_segments_with_labels_of_their_own(tmp_path: Path) -> None:
    conversations = random_conversations(LENGTHS, 500, seed=2)
    blend = open_packed_blend(
        config(blend=[BlendSource(path=str(write_conversations(tmp_path / "a", conversations, 500)))])
    )
    batch_slice = BatchSlice(global_batch_size=3, micro_batch_size=3)
    [batch] = BatchReader(blend, batch_slice, packed_collate(ParallelConfig())).read(6).micro_batches
    known = {ids.tobytes(): mask for ids, mask in conversations}
    cu_seqlens, found = batch.cu_seqlens.tolist(), 0
    assert cu_seqlens[0] == 0 and cu_seqlens[-1] == 3 * 64
    for begin, end in pairwise(cu_seqlens):
        tokens, labels, mask, positions = (
            getattr(batch, name)[0, begin:end].numpy() for name in ("tokens", "labels", "loss_mask", "position_ids")
        )
        assert positions.tolist() == list(range(end - begin))
        if not mask.any():
            continue  # padding
        assert (labels[:-1] == tokens[1:]).all()
        ids = np.append(tokens, labels[-1]).astype(np.uint16)
        assert (mask == known[ids.tobytes()][1:]).all()
        found += 1
    assert found == sum(len(blend.streams[0].row(blend.samples(6, 3)[row][1])) for row in range(3))


def test_too_long(tmp_path: Path) -> None:
    conversations = random_conversations([10, 200, 70, 64, 65, 66], 500, seed=3)
    late = np.zeros(300, np.uint8)
    late[-5:] = 1
    conversations.append((np.arange(300, dtype=np.uint16), late))
    prefix = str(write_conversations(tmp_path / "a", conversations, 500))
    cut = PackedRows(prefix, config(too_long=TooLong.truncate), shuffle=False)
    lost = sum(not mask[1:65].any() for _, mask in conversations)
    assert lost and (cut.conversations, cut.dropped) == (7 - lost, lost)
    assert "truncated" in cut.describe()
    dropped = PackedRows(prefix, config(too_long=TooLong.drop), shuffle=False)
    assert (dropped.conversations, dropped.dropped, dropped.truncated) == (3, 4, 0)
    with pytest.raises(UserError, match="4 conversations are longer than seq_length 64, the first is number 1"):
        PackedRows(prefix, config(too_long=TooLong.refuse), shuffle=False)
    with pytest.raises(UserError, match="no conversation fits seq_length 4"):
        PackedRows(prefix, config(seq_length=4, too_long=TooLong.drop), shuffle=False)


def test_ids_beyond_the_vocabulary_are_refused(tmp_path: Path) -> None:
    prefix = str(write_conversations(tmp_path / "a", random_conversations([60], 500, seed=4), 500))
    with pytest.raises(UserError, match="has 500 ids, the model's vocabulary 400"):
        PackedRows(prefix, config(), Vocabulary(size=400), shuffle=False)


@pytest.mark.parametrize("multiple", [1, 2])
@pytest.mark.parametrize(("dp", "micro"), [(1, 1), (2, 1), (2, 2), (4, 1)])
def test_validation_reads_the_same_rows_on_every_layout(tmp_path: Path, dp: int, micro: int, multiple: int) -> None:
    """The seventh row is alone in its micro-batch on some of them; nothing but a multiple rounds their number up."""
    interleaved = {"pipeline_model_parallel_size": 2, "virtual_pipeline_model_parallel_size": 2}
    parallel = ParallelConfig(**interleaved if multiple == 2 else {})
    conversations = random_conversations(LENGTHS, 500, seed=5)
    rows = PackedRows(str(write_conversations(tmp_path / "a", conversations, 500)), config(), shuffle=False)
    source = ValidationSet("a", rows, 7, packed_collate(parallel))
    slices = [
        BatchSlice(global_batch_size=4 * micro, micro_batch_size=micro, data_parallel_size=dp, data_parallel_rank=rank)
        for rank in range(dp)
    ]
    batches = [list(source.micro_batches(batch_slice)) for batch_slice in slices]
    assert len({len(part) for part in batches}) == 1 and len(batches[0]) % multiple == 0
    trained = sum(float(batch.loss_mask.sum()) for part in batches for batch in part)
    assert trained == sum(int(mask[1:].sum()) for row in range(7) for _, mask in rows.row(row))
