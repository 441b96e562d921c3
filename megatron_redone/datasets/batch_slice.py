"""Which samples of a global batch one data-parallel rank reads.

A global batch is the samples `consumed_samples .. consumed_samples + global_batch_size`, whatever the
data-parallel and micro-batch sizes: these say only who reads which of them. So a run resumes exactly on
another layout.
"""

from dataclasses import dataclass

from megatron_redone.errors import UserError


@dataclass(frozen=True, kw_only=True)
class BatchSlice:
    """The part of a global batch that one data-parallel rank reads, cut into micro-batches."""

    global_batch_size: int
    micro_batch_size: int
    data_parallel_size: int = 1
    data_parallel_rank: int = 0

    def __post_init__(self) -> None:
        assert 0 <= self.data_parallel_rank < self.data_parallel_size
        for name in ("global_batch_size", "micro_batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: {getattr(self, name)} is less than 1")
        if self.global_batch_size % self.samples_at_once:
            raise UserError(
                f"global_batch_size: {self.global_batch_size} is not divisible by micro_batch_size "
                f"{self.micro_batch_size} x data-parallel size {self.data_parallel_size} = {self.samples_at_once}"
            )

    @property
    def samples_at_once(self) -> int:
        """Samples of one micro-batch of every rank."""
        return self.micro_batch_size * self.data_parallel_size

    @property
    def micro_batch_count(self) -> int:
        """Micro-batches that each rank runs in one step."""
        return self.global_batch_size // self.samples_at_once

    def samples(self, micro_batch: int) -> range:
        """The samples of this rank's micro-batch of that number, counted from the first of the global batch."""
        first = (micro_batch * self.data_parallel_size + self.data_parallel_rank) * self.micro_batch_size
        return range(first, first + self.micro_batch_size)
