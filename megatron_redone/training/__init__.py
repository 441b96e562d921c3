"""Optimizer, schedule, and one step of training."""
