"""The type in which converted weights are written."""

import enum


class WeightsDtype(enum.Enum):
    """A type of weights."""

    keep = "keep"
    fp32 = "float32"
    fp16 = "float16"
    bf16 = "bfloat16"
