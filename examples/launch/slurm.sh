#!/usr/bin/env bash
# Any training stage as a job of Slurm, on as many machines as sbatch is asked for:
#
#   sbatch --nodes 8 examples/launch/slurm.sh pretrain --config examples/qwen2_5_7b/cpt.yaml
#
# Partition, account and time limit are the cluster's own: give them to sbatch, or add lines here. To be submitted from
# the repository's folder, or with LAUNCH_DIR set to this one.
#
#SBATCH --job-name=redone
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --mem=0
#SBATCH --exclusive
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
# A job that loses a machine queues again by itself. So does one that comes to its time limit (below).
#SBATCH --requeue
# Ten minutes before the limit this script is told, and every process saves a checkpoint and ends.
#SBATCH --signal=B:USR1@600
set -euo pipefail

# Slurm runs a copy of this file, elsewhere.
here=${LAUNCH_DIR:-$SLURM_SUBMIT_DIR/examples/launch}

at_the_limit=no
# shellcheck disable=SC2329 # called by the trap
save_and_end() {
  at_the_limit=yes
  scancel --signal=TERM "$SLURM_JOB_ID" # its steps, not this script
}
trap save_and_end USR1

status=0
srun --kill-on-bad-exit=1 bash "$here/in_srun.sh" "$@" &
wait $! || status=$?
if [ $at_the_limit = yes ]; then
  wait $! || status=$? # the first wait ended with the signal
  echo "slurm.sh: came to its time limit, queues again and goes on from the newest checkpoint"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
