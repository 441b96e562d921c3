#!/usr/bin/env bash
# One machine of a job of Slurm, started by srun: finds where all meet, and goes on as nodes.sh does.
set -euo pipefail

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# A port of the job's own: another one may use the same machine.
export NODES=$SLURM_JOB_NUM_NODES HEAD=$head:$((20000 + SLURM_JOB_ID % 20000)) RUN=$SLURM_JOB_ID
exec bash "$(dirname "${BASH_SOURCE[0]}")/nodes.sh" "$@"
