#!/usr/bin/env bash
# Any training stage on several machines: start the same command on each of them.
#
#   NODES=8 HEAD=node001:29500 bash examples/launch/nodes.sh pretrain --config examples/qwen2_5_7b/cpt.yaml
#
#   NODES   how many machines
#   HEAD    one of them, and a free port: where they meet
#   RUN     a name, the same on all, that sets this launch apart from others on that port (default: redone)
#   ADDRESS of this machine, by which the others reach it, where its name does not lead them there
#
# The code, the data and output_dir must be seen under the same paths on all machines. The machines may start minutes
# apart. When a process or a machine dies, all processes are started again, up to three times, and go on from the newest
# checkpoint; a machine that was lost is waited for (start this command there again). SIGTERM on one machine saves and
# ends the run there; send it to all, as Slurm does.
#
# On a machine that is cut off for ever the processes end within minutes, but torchrun waits for an answer of HEAD as long
# as the kernel repeats what it has sent: a quarter of an hour. `sysctl -w net.ipv4.tcp_retries2=8`, as root on all
# machines, makes it about 100 seconds; cuts that are shorter still change nothing.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

address=() is_host=
if [ -n "${ADDRESS:-}" ]; then # torchrun would look up the machine's name to find out whether it is HEAD
  address=(--local-addr "$ADDRESS")
  [ "$ADDRESS" = "${HEAD%:*}" ] && is_host=,is_host=1 || is_host=,is_host=0
fi

# join_timeout: seconds that machines wait for each other at the start and after a failure.
exec torchrun \
  --nnodes "${NODES:?how many machines}" --nproc-per-node "$PROCESSES" --max-restarts "${MAX_RESTARTS:-3}" \
  --rdzv-backend c10d --rdzv-endpoint "${HEAD:?where the machines meet, as host:port}" --rdzv-id "${RUN:-redone}" \
  --rdzv-conf "join_timeout=${JOIN_TIMEOUT:-900}$is_host" ${address[@]+"${address[@]}"} \
  --no-python "${BIND[@]}" "$@"
