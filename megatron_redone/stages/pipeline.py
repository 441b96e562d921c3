"""`redone pipeline`: stages in their order, each run where its settings or what it reads have changed."""

from megatron_redone.pipeline.runner import print_plan, run_pipeline

run, dry_run = run_pipeline, print_plan
