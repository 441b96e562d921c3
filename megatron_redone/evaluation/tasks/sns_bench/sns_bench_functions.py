"""What the files here call."""

from megatron_redone.evaluation.sns_bench.items import corrected, load, official, score, with_stand_in

__all__ = ["corrected", "load", "official", "score", "with_stand_in"]
