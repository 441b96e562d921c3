"""Preference pairs out of the records that people align chat models on, whatever their format."""
