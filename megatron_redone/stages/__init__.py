"""One file a sub-command of `redone`, with its `run(config)`: it reads files and writes files. None imports another."""
