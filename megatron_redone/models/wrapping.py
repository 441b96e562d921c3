"""Wraps pieces for data parallelism."""

from megatron.core.distributed import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    finalize_model_grads,
)

from megatron_redone.models.build import Model


def wrap_data_parallel(model: Model) -> list[DistributedDataParallel]:
    """Gives every piece its gradient buffers, in fp32 whatever the precision of the weights.

    From here on megatron-core's schedules know how gradients are reduced; weights must be loaded before
    an optimizer is built, not before this.
    """
    on_cuda = model.context.device.type == "cuda"
    ddp_config = DistributedDataParallelConfig(
        grad_reduce_in_fp32=True,
        use_distributed_optimizer=model.context.config.use_distributed_optimizer,
        # On CPU communication and computation share the cores: nothing to hide one behind. Gathering weights
        # is not overlapped anywhere: between a step and the next forward pass a checkpoint would hold old ones.
        overlap_grad_reduce=on_cuda,
    )
    wrapped = [
        # Only the first piece reduces bucket by bucket: the later ones are not on the critical path.
        DistributedDataParallel(model.config, ddp_config, chunk, disable_bucketing=number > 0)
        for number, chunk in enumerate(model.chunks)
    ]
    model.config.finalize_model_grads_func = finalize_model_grads
    if ddp_config.overlap_grad_reduce:
        no_sync = [chunk.no_sync for chunk in wrapped]
        model.config.no_sync_func = no_sync if len(no_sync) > 1 else no_sync[0]  # type: ignore[assignment]
    return wrapped
