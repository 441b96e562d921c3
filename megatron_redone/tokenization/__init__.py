"""Text to token ids, one class over three tokenizer formats. No torch."""
