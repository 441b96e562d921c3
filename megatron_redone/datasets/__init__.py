"""Training-time readers: from .bin/.idx files to the micro-batches of one data-parallel rank.

Read in this order: `permutation`, `token_stream`, `schedule`, `blend`, `batches`, `loader`.
"""
