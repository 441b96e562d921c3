#!/usr/bin/env bash
# Runs the command of one process of torchrun on the processors beside its GPU, with memory from there: what it reads
# ahead and copies then takes no way through the other socket. LOCAL_RANK says which GPU. Without numactl or nvidia-smi,
# or where the machine does not tell where its GPUs are, the command runs as it is.
#
#   torchrun ... --no-python bash examples/launch/bind.sh python -m megatron_redone STAGE ...
set -euo pipefail

# The NUMA node of a GPU, by its number or name of nvidia-smi; nothing where that is not known.
numa_node() {
  local bus node
  bus=$(nvidia-smi --query-gpu=pci.bus_id --format=csv,noheader --id="$1" 2>/dev/null) || return 0
  bus=${bus,,} # 00000000:1B:00.0 is 0000:1b:00.0 to the kernel
  node=$(cat "${SYSFS:-/sys}/bus/pci/devices/${bus: -12}/numa_node" 2>/dev/null) || return 0
  [ "$node" -lt 0 ] || echo "$node"
}

IFS=, read -ra visible <<<"${CUDA_VISIBLE_DEVICES-}"
local_rank=${LOCAL_RANK:-0}
node=""
if command -v numactl >/dev/null && command -v nvidia-smi >/dev/null; then
  node=$(numa_node "${visible[local_rank]:-$local_rank}")
fi
[ -n "$node" ] || exec "$@"
# Preferred, not bound to: a checkpoint that waits in memory may be more than one node has.
exec numactl --cpunodebind="$node" --preferred="$node" -- "$@"
