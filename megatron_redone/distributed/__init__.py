"""The only owner of devices and process groups."""

from megatron_redone.distributed.context import ParallelContext, destroy_context, start_context

__all__ = ["ParallelContext", "destroy_context", "start_context"]
