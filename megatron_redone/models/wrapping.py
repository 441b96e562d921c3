"""Wraps model chunks for data parallelism."""

from megatron.core.distributed import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    finalize_model_grads,
)

from megatron_redone.errors import UserError
from megatron_redone.models.build import Model


def wrap_data_parallel(model: Model) -> list[DistributedDataParallel]:
    """Gives every model chunk its gradient buffers, in fp32 whatever the precision of the weights.

    From here on megatron-core's schedules know how gradients are reduced; weights must be loaded before
    an optimizer is built, not before this.
    """
    parallel = model.context.config
    on_cuda = model.context.device.type == "cuda"
    if parallel.overlap_param_gather and not on_cuda:
        # Over gloo there is nothing to gain, and megatron-core's grouped asynchronous gather is not proved there.
        raise UserError("overlap_param_gather: needs a CUDA device; leave it false")
    # On CPU communication and computation share the cores: nothing to hide one behind.
    overlap = on_cuda if parallel.overlap_grad_reduce is None else parallel.overlap_grad_reduce
    ddp_config = DistributedDataParallelConfig(
        grad_reduce_in_fp32=True,
        use_distributed_optimizer=parallel.use_distributed_optimizer,
        overlap_grad_reduce=overlap,
        # Between a step and the next forward pass this rank then holds old weights: whoever reads them outside of a
        # forward pass calls `gather_weights` before (training/model_state.py).
        overlap_param_gather=_gathers_meanwhile(model, overlap),
        fp8_param_gather=model.config.fp8_param,
    )
    wrapped = [
        # Only the first model chunk reduces bucket by bucket: the later ones are not on the critical path.
        DistributedDataParallel(model.config, ddp_config, chunk, disable_bucketing=number > 0)
        for number, chunk in enumerate(model.chunks)
    ]
    model.config.finalize_model_grads_func = finalize_model_grads
    if ddp_config.overlap_grad_reduce:
        no_sync = [chunk.no_sync for chunk in wrapped]
        model.config.no_sync_func = no_sync if len(no_sync) > 1 else no_sync[0]  # type: ignore[assignment]
    return wrapped


def _gathers_meanwhile(model: Model, overlaps_reduce: bool) -> bool:
    context, parallel = model.context, model.context.config
    if parallel.overlap_param_gather is not None:
        return parallel.overlap_param_gather
    shares = parallel.use_distributed_optimizer and context.data_size * parallel.context_parallel_size > 1
    # A captured layer would not wait for its weights.
    captured = model.config.cuda_graph_impl != "none"
    return context.device.type == "cuda" and overlaps_reduce and shares and not captured
