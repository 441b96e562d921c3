"""Work over many processes of one machine: pools, their progress, and an end when the parent ends."""
