"""Values for a parameter, whatever holds it."""

import torch


@torch.no_grad()
def set_weight(parameter: torch.nn.Parameter, values: torch.Tensor) -> None:
    """Copies values of its whole shape into a parameter, before an optimizer is built.

    Transformer Engine's FP8 parameters are rounded in doing so. They come with their first values unrounded, which
    megatron-core's optimizer takes for its main weights (get_high_precision_init_val, in
    transformer_engine/pytorch/module/base.py and megatron/core/optimizer/distrib_optimizer.py): those follow.
    """
    parameter.copy_(values)
    unrounded = getattr(parameter, "get_high_precision_init_val", lambda: None)()
    if unrounded is not None:  # None too where an optimizer has taken it
        unrounded.copy_(values)
