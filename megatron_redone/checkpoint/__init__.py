"""Checkpoints: megatron-core's distributed format, committed whole, with all that is needed to use them alone."""
