# shellcheck shell=bash
# Environment of every launch; the other scripts source it. What is set outside counts.

# NCCL tells of trouble and nothing else; INFO shows which network it took, for the first run on a new cluster.
export NCCL_DEBUG=${NCCL_DEBUG:-WARN}
# What CUDA, NCCL, gloo and Transformer Engine read follows from the layout: every stage sets it and tells at its start
# (megatron_redone/processes/environment.py). What is set here or outside counts.
# After a failure the processes meet in a store of their own. In torchrun's shared one machines that count their restarts
# differently find what the dead have left, and never meet.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=${TORCH_DISABLE_SHARE_RDZV_TCP_STORE:-1}
# After SIGTERM a run saves a checkpoint: 107 GB for 7 B parameters. torchrun's own 30 s would cut that short.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-600}
# The loaders' threads; matrix products are the GPU's. torchrun warns where it is not set.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-8}

# Clusters differ in these. NCCL finds InfiniBand by itself; name the interfaces where it takes the wrong ones:
#   export NCCL_SOCKET_IFNAME=bond0        the Ethernet for the first contact
#   export GLOO_SOCKET_IFNAME=bond0        the same for gloo, of which every step has some; a whole name. Without it that
#                                          of NCCL is taken, or the interface that leads to the head
#   export NCCL_IB_HCA=mlx5_0,mlx5_1,...   the InfiniBand ports beside the GPUs, not those of the storage network

# Every process keeps to the processors and the memory beside its GPU.
# shellcheck disable=SC2034 # for the scripts that source this one
BIND=(bash "$(dirname "${BASH_SOURCE[0]}")/bind.sh" python -m megatron_redone)

# Processes of this node: its GPUs, or what PROCESSES says (a test on CPU).
PROCESSES=${PROCESSES:-$( (nvidia-smi --list-gpus 2>/dev/null || true) | wc -l)}
if [ "$PROCESSES" -eq 0 ]; then
  echo "$0: no GPU found; set PROCESSES to run on CPU" >&2
  exit 2
fi
