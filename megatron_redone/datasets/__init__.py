"""Training-time readers: from .bin/.idx files to the micro-batches of one data-parallel rank.

Read in this order: `permutation`, `epochs`, `token_stream`, `blend_schedule`, `blend`, `batch_slice`, `collating`,
`token_rows`, `batch_reader`, `batch_loader`; then `packed_rows` for conversations and `pair_rows` for preferences.
"""
