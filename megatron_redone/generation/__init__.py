"""An exported Hugging Face model, for all who ask it: loading, identity, log-probabilities and answers."""
