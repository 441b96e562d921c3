"""The only owner of devices and process groups."""

import warnings

# megatron-core tells on import what it does without, once for every file.
warnings.filterwarnings("ignore", r"(Transformer Engine and )?Apex (is|are) not installed", module="megatron")
warnings.filterwarnings("ignore", "full scope is deprecated", module="megatron")

from megatron_redone.distributed.context import ParallelContext, destroy_context, start_context  # noqa: E402

__all__ = ["ParallelContext", "destroy_context", "start_context"]
