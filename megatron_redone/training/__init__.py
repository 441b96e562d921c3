"""A run of training: its setup, the loop, one step of it, and the callbacks that do everything besides.

Read in this order: `setup`, `loop`, `train_step`; then the callbacks `reporting`, `validation`, `saving`, `best`,
`skipped_steps`.
"""
