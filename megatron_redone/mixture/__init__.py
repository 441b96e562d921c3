"""Which mixture of sources a run should train on: designs, small runs, regressions, the best mixture under limits."""
