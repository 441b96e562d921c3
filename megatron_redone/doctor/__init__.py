"""What this machine has, what it lacks, and whether two processes train together."""
