"""Which mixture of sources a run should train on: designs, small runs, regressions, and the best mixture under limits."""
