"""What exported models can do: metrics on held-out data, their intervals, and tables."""
