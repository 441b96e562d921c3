"""Conversations out of the records that people train chat models on, whatever their format."""
