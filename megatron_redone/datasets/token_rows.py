"""Samples of token streams as the rows of a micro-batch.

Shape legend: b rows of a micro-batch, S tokens of a row, n segments.
"""

from collections.abc import Sequence

import numpy as np

from megatron_redone.batches.micro_batch import MicroBatch
from megatron_redone.config.data import DataConfig
from megatron_redone.config.parallel import ParallelConfig
from megatron_redone.datasets.collating import RowCollate, Sample, micro_batch_multiple
from megatron_redone.datasets.tensors import to_tensor


def token_collate(config: DataConfig, parallel: ParallelConfig) -> RowCollate:
    """How samples of token streams become micro-batches under a configuration."""
    rows = _read_isolated_documents if config.isolate_documents else _read_whole_rows
    return RowCollate(rows, micro_batch_multiple(parallel))


def _read_whole_rows(samples: Sequence[Sample]) -> MicroBatch:
    return whole_rows([stream.tokens(number) for stream, number in samples])


def _read_isolated_documents(samples: Sequence[Sample]) -> MicroBatch:
    rows = [stream.tokens(number) for stream, number in samples]
    return isolated_documents(rows, [stream.document_starts(number) for stream, number in samples])


def whole_rows(rows: Sequence[np.ndarray]) -> MicroBatch:
    """A micro-batch whose rows are read through, across the documents in them, as Megatron does.

    Args:
        rows: Integer ids, b arrays of `[S + 1]`.
    """
    ids = _stack(rows)
    inputs = ids[:, :-1]
    return MicroBatch(
        tokens=to_tensor(inputs),
        labels=to_tensor(ids[:, 1:]),
        loss_mask=to_tensor(np.ones(inputs.shape, np.float32)),
        position_ids=to_tensor(np.broadcast_to(np.arange(inputs.shape[1]), inputs.shape)),
    )


def isolated_documents(rows: Sequence[np.ndarray], starts: Sequence[np.ndarray]) -> MicroBatch:
    """A micro-batch in which every document, and every part of one in a row, is a segment of its own.

    The last token of a segment has the first token of the next document as its label, which it could
    not know: the loss leaves it out, except where the row cuts a document and the label is its own.

    Args:
        rows: Integer ids, b arrays of `[S + 1]`.
        starts: For each row the positions from 1 to S at which a document begins, ascending.
    """
    ids = _stack(rows)
    length, total = ids.shape[1] - 1, ids[:, 1:].size
    offsets = np.arange(0, total, length)
    documents = np.concatenate([positions + offset for positions, offset in zip(starts, offsets, strict=True)])
    # A document that begins with the last label of a row has no input in it.
    begins = np.union1d(offsets, documents[documents < total]).astype(np.int64)
    cu_seqlens = np.append(begins, total)
    loss_mask = np.ones((1, total), np.float32)
    loss_mask[0, documents - 1] = 0.0
    return MicroBatch(
        tokens=to_tensor(ids[:, :-1].reshape(1, total)),
        labels=to_tensor(ids[:, 1:].reshape(1, total)),
        loss_mask=to_tensor(loss_mask),
        position_ids=to_tensor((np.arange(total) - np.repeat(begins, np.diff(cu_seqlens)))[None]),
        cu_seqlens=to_tensor(cu_seqlens.astype(np.int32)),
    )


def _stack(rows: Sequence[np.ndarray]) -> np.ndarray:
    """`int64[b, S + 1]`."""
    return np.stack(rows, dtype=np.int64, casting="safe")
