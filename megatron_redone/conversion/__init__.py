"""Hugging Face in, Hugging Face out: tables of names per family, and tensors streamed row by row through them."""
