"""From an architecture to the model chunks, GPTModels each, that this rank holds."""
