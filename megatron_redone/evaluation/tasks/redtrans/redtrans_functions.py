"""What the files here call."""

from megatron_redone.evaluation.benchmarks.translation import load, score

__all__ = ["load", "score"]
