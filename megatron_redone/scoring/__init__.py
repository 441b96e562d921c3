"""Forward-only log-probabilities: what a reference model thinks of responses."""
