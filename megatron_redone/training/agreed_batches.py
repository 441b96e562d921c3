"""Batches that all ranks get, or none."""

from collections.abc import Iterator

from megatron_redone.batches.micro_batch import GlobalBatch
from megatron_redone.distributed.collectives import errors_stop_all_ranks, largest


def agreed(batches: Iterator[GlobalBatch]) -> Iterator[GlobalBatch]:
    """The same batches; where reading one failed on some rank, all ranks end with that rank's reason.

    For all ranks, which ask for equally many.
    """
    while True:
        error: Exception | None = None
        batch: GlobalBatch | None = None
        try:
            batch = next(batches)
        except Exception as caught:
            error = caught
        if largest(int(error is not None)):
            with errors_stop_all_ranks():
                if error is not None:
                    raise error
        assert batch is not None
        yield batch
