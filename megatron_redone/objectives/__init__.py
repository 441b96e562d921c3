"""What is optimised. The training loop knows an objective by its protocol alone."""

from megatron_redone.objectives.objective import Objective, Report

__all__ = ["Objective", "Report"]
