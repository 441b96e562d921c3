"""What small steps in bf16 lose, measured on a real model: see docs/small_steps.md."""
