"""What differs between the versions of megatron-core that are supported, 0.16 (Python 3.10, 3.11) and 0.19 (3.12).

Everything else is written so that both take it: `FusedAdam` has `capturable`, which 0.16 does not give; a state that
tests save by megatron-core's own way goes through its strategy for torch, as 0.19 has no base of strategies.
"""

import megatron.core

from megatron_redone.errors import UserError

_GRAPHS = (0, 16)


def engine_version() -> tuple[int, int]:
    """Major and minor version of the megatron-core that is installed."""
    major, minor = megatron.core.__version__.split(".")[:2]
    return int(major), int(minor)


def refuse_unknown_graphs() -> None:
    """Stops a run whose CUDA graphs nobody has compared with the run without them: 0.17 and later make them otherwise.

    Raises:
        UserError: megatron-core is another than 0.16.
    """
    if engine_version() != _GRAPHS:
        raise UserError(
            f"cuda_graph_impl: megatron-core {megatron.core.__version__} makes graphs in another way than 0.16, with "
            "which they were found to be right; leave it none, or install megatron-core 0.16"
        )
