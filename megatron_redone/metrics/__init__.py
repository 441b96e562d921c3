"""Figures of a run: how many operations it takes, how fast it is, and where that is written. No torch."""
