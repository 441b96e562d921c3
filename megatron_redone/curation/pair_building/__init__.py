"""Preference pairs from labels, judges, wrong answers and wrong options."""
