"""What a step is fed: readers make it, objectives take it, and neither imports the other."""
