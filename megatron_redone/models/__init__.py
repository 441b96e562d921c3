"""Hugging Face config.json -> architecture -> the pieces of a GPTModel that this rank holds."""
