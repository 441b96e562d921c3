#!/usr/bin/env bash
# A training stage of `redone pipeline` on Slurm: waits for machines, and for the stage's end. The pipeline itself runs
# on a login node, in tmux or the like. As its launcher:
#
#   launcher: env NODES=8 bash {config_dir}/../launch/pipeline_on_slurm.sh
#
# SRUN_OPTIONS holds what the cluster wants to know: "--partition=gpu --account=research --time=48:00:00".
# Ctrl-C and SIGTERM of the pipeline reach every process through srun; they save and end.
set -euo pipefail

read -ra options <<<"${SRUN_OPTIONS:-}"
exec srun --nodes "${NODES:?how many machines}" --ntasks-per-node 1 --gpus-per-node 8 --exclusive --mem 0 \
  --job-name redone --kill-on-bad-exit=1 ${options[@]+"${options[@]}"} \
  bash "$(dirname "${BASH_SOURCE[0]}")/in_srun.sh" "$@"
