"""What the files here call."""

from megatron_redone.evaluation.benchmarks.followed_instructions import load as load_ifeval
from megatron_redone.evaluation.benchmarks.followed_instructions import mean_over_instructions
from megatron_redone.evaluation.benchmarks.followed_instructions import score as score_ifeval
from megatron_redone.evaluation.benchmarks.held_out_text import load as load_texts
from megatron_redone.evaluation.benchmarks.multiple_choice import load as load_multiple_choice
from megatron_redone.evaluation.benchmarks.worked_answers import load_bbh, load_gsm8k, score_bbh

__all__ = [
    "load_bbh",
    "load_gsm8k",
    "load_ifeval",
    "load_multiple_choice",
    "load_texts",
    "mean_over_instructions",
    "score_bbh",
    "score_ifeval",
]
