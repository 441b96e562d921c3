#!/usr/bin/env bash
# Any training stage on all GPUs of this machine.
#
#   bash examples/launch/one_node.sh pretrain --config examples/qwen2_5_7b/cpt.yaml
#
# A process that dies is started again with all others, up to three times, and goes on from the newest checkpoint.
# Ctrl-C or SIGTERM saves and ends; the same command goes on. As a pipeline's launcher:
#
#   launcher: bash {config_dir}/../launch/one_node.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

exec torchrun --standalone --nproc-per-node "$PROCESSES" --max-restarts "${MAX_RESTARTS:-3}" \
  --no-python "${BIND[@]}" "$@"
