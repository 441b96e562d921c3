"""What exported models can do: measures on held-out data, intervals, tables, and the report of all stages."""
