"""How a model and its batch are laid out over processes."""

import enum
from dataclasses import dataclass

from megatron_redone.config.field import key
from megatron_redone.errors import UserError


class Device(enum.Enum):
    """Where a run computes."""

    auto = "auto"
    cuda = "cuda"
    cpu = "cpu"


class ContextExchange(enum.Enum):
    """What processes that share a sequence send each other for attention."""

    keys = "keys"
    heads = "heads"


@dataclass(frozen=True, kw_only=True)
class ParallelConfig:
    """The parallel layout; data parallelism takes the processes that the other sizes leave."""

    tensor_model_parallel_size: int = key("processes that share every matrix", 1, at_least=1)
    pipeline_model_parallel_size: int = key("processes that share the layers", 1, at_least=1)
    virtual_pipeline_model_parallel_size: int | None = key(
        "model chunks that each pipeline process holds (interleaved schedule); null holds one", None, at_least=2
    )
    num_layers_in_first_pipeline_stage: int | None = key(
        "layers that the first pipeline process holds, where not as many as the others; null shares evenly",
        None,
        at_least=1,
    )
    num_layers_in_last_pipeline_stage: int | None = key(
        "layers that the last one holds: fewer make up for the output layer, of a small model with a large vocabulary",
        None,
        at_least=1,
    )
    context_parallel_size: int = key("processes that share every sequence", 1, at_least=1)
    context_parallel_exchange: ContextExchange = key(
        "what they send each other for attention: keys and values (in a ring on Transformer Engine), or heads, so that "
        "each has the whole sequence of some heads (all-to-all, which sends less where there are many processes and "
        "few heads to a key; arXiv 2309.14509)",
        ContextExchange.keys,
    )
    sequence_parallel: bool = key("share norms and residuals over the tensor-parallel processes too", False)
    use_distributed_optimizer: bool = key("share the optimizer's state over the data-parallel processes", True)
    overlap_grad_reduce: bool | None = key(
        "reduce gradients while the backward pass still runs; null does so on CUDA (not yet measured)", None
    )
    overlap_param_gather: bool | None = key(
        "gather updated weights while the next forward pass runs, instead of after the step; null does so on CUDA "
        "where overlap_grad_reduce and use_distributed_optimizer are on and no CUDA graphs are (not yet measured)",
        None,
    )
    tp_comm_overlap: bool = key(
        "overlap tensor-parallel communication with matrix products, by Transformer Engine (not yet measured)", False
    )
    timeout_minutes: int = key("a process that is waited for longer than this ends the run", 30, at_least=1)

    def __post_init__(self) -> None:
        if self.sequence_parallel and self.tensor_model_parallel_size == 1:
            raise UserError("sequence_parallel: needs tensor_model_parallel_size of 2 or more; leave it false")
        if self.context_parallel_exchange is ContextExchange.heads and self.context_parallel_size == 1:
            raise UserError("context_parallel_exchange: heads needs context_parallel_size of 2 or more; leave it keys")
        self._check_virtual_pipeline()
        self._check_uneven_pipeline()
        self._check_overlap()

    def _check_overlap(self) -> None:
        if self.overlap_param_gather and not self.use_distributed_optimizer:
            raise UserError("overlap_param_gather: needs use_distributed_optimizer, whose weights it gathers")
        if self.overlap_param_gather and self.overlap_grad_reduce is False:
            raise UserError("overlap_param_gather: needs overlap_grad_reduce (megatron-core); leave that null")
        if self.tp_comm_overlap and not self.sequence_parallel:
            raise UserError("tp_comm_overlap: needs sequence_parallel")

    def _check_virtual_pipeline(self) -> None:
        if self.virtual_pipeline_model_parallel_size is not None and self.pipeline_model_parallel_size == 1:
            raise UserError(
                "virtual_pipeline_model_parallel_size: needs pipeline_model_parallel_size of 2 or more; leave it null"
            )

    def _check_uneven_pipeline(self) -> None:
        for name in ("num_layers_in_first_pipeline_stage", "num_layers_in_last_pipeline_stage"):
            if getattr(self, name) is not None and self.pipeline_model_parallel_size == 1:
                raise UserError(f"{name}: needs pipeline_model_parallel_size of 2 or more; leave it null")

    @property
    def model_parallel_size(self) -> int:
        """Processes that one copy of the model takes."""
        return self.tensor_model_parallel_size * self.pipeline_model_parallel_size * self.context_parallel_size

    @property
    def pipeline_chunks(self) -> int:
        """Pieces that the layers are cut into."""
        return self.pipeline_model_parallel_size * (self.virtual_pipeline_model_parallel_size or 1)
