"""What the files here call."""

from megatron_redone.evaluation.benchmarks.harmful_content import load, score
from megatron_redone.evaluation.detection import macro_f1

__all__ = ["load", "macro_f1", "score"]
