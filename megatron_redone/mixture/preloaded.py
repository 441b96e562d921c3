"""Imported before the processes of small runs are forked: they begin at once, and warn of nothing that helps nobody."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import megatron_redone.training.pretraining as _pretraining

__all__ = ["_pretraining"]
