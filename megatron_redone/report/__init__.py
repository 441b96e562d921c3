"""One page on everything that a pipeline did: gathered from files, drawn without dependencies."""
