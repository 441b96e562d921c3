"""Runs the stages of a project in their order, each where its settings or what it reads have changed."""
