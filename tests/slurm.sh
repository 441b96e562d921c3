#!/usr/bin/env bash
# The tests that need a real Slurm: installs it (Debian and its kin, as root) where it is not there, and runs them. They
# start a controller and two machines in network namespaces of their own, and take them away again: nothing of the system's
# is configured, and no cluster that is there is used. About four minutes.
#
#   bash tests/slurm.sh [ARGUMENTS OF pytest]
#   bash tests/slurm.sh --junitxml slurm.xml     for `python tools/reliability/record.py --faults slurm.xml`
#
# PYTHON and REDONE_VENV choose the environment, as for tests/run.sh. Without Slurm, tests/run.sh skips these tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "slurm.sh: $*" >&2; exit 2; }
[ "$(id -u)" -eq 0 ] || fail "network namespaces and Slurm's daemons need root"

packages=()
command -v sbatch >/dev/null || packages+=(slurm-wlm)
command -v munged >/dev/null || packages+=(munge)
command -v ip >/dev/null && command -v tc >/dev/null || packages+=(iproute2)
if [ ${#packages[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || fail "install ${packages[*]} by hand; there is no apt-get"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # Their own daemons stay off: the tests start theirs.
  RUNLEVEL=1 apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null
fi

source tools/environment.sh
use_environment dev
exec python -m pytest tests/distributed/test_slurm.py "$@"
