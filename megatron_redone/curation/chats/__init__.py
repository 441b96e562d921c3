"""Conversations and pairs through the tokenizer, source by source, in parallel."""
