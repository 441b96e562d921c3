"""How fp32 weights are rounded to bf16."""

import enum


class Bf16Rounding(enum.Enum):
    """To the nearest, or to one of the two neighbours by chance, so that the mean stays (`stochastic`)."""

    nearest = "nearest"
    stochastic = "stochastic"
