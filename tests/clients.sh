#!/usr/bin/env bash
# Exports as other programs read them: transformers 4.45, 4.57 and 5 and CTranslate2, on the CPU. Every version saves small
# models of each family; they are imported, exported and read by all. About five minutes, of which one makes environments.
#
#   bash tests/clients.sh                    prints a table; ends with code 1 where something differs
#   bash tests/clients.sh --export DIR       reads an export of yours as well, such as the quickstart's
#   bash tests/clients.sh --to FILE.json     where the figures go (default: WORK/clients.json)
#   bash tests/clients.sh --work DIR         where environments and models are kept (default: .clients)
#
# PYTHON chooses the interpreter (3.10 or later), REDONE_VENV the environment's folder (default: .venv; `none` takes the
# environment that is active as it is). Its torch is linked into the others, which take half a gigabyte.
set -euo pipefail

fail() { echo "clients.sh: $*" >&2; exit 2; }
path() { case $1 in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }

work='' to='' exports=()
while [ $# -gt 0 ]; do
  case $1 in
    --export) [ -f "${2:?--export needs a folder}/config.json" ] || fail "$2: no export"; exports+=(--export "$(path "$2")"); shift 2 ;;
    --work) work=$(path "${2:?--work needs a folder}"); shift 2 ;;
    --to) to=$(path "${2:?--to needs a file}"); shift 2 ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;;
    *) fail "$1: unknown; see --help" ;;
  esac
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=${work:-$PWD/.clients}

source tools/environment.sh
use_environment dev

# An environment with one version of transformers, and the torch of this one.
client() {
  local folder=$work/environments/$1 requirements=("${@:2}") stamp site
  stamp="$(python --version) $(python -c 'import torch; print(torch.__version__, torch.__file__)') ${requirements[*]}"
  if [ "$(cat "$folder/.stamp" 2>/dev/null)" != "$stamp" ]; then
    echo "== making $folder" >&2
    rm -rf "$folder"
    python -m venv "$folder"
    "$folder/bin/python" -m pip install -qq --disable-pip-version-check "${requirements[@]}" >&2
    site=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    python tests/clients/link_torch.py "$site"
    echo "$stamp" >"$folder/.stamp"
  fi
  echo "$folder/bin/python"
}

mkdir -p "$work"
common=('jinja2>=3.1.6' 'safetensors>=0.4' 'numpy>=1.26')
old=$(client transformers-4.45 'transformers==4.45.2' "${common[@]}")
middle=$(client transformers-4.57 'transformers==4.57.6' 'ctranslate2==4.8.5' "${common[@]}")
rm -rf "$work/models"
python -W ignore tests/clients/compare.py \
  --client "transformers 4.45=$old" --client "transformers 4.57=$middle" --client "transformers 5=$(command -v python)" \
  --ctranslate2 "$middle" --work "$work/models" --to "${to:-$work/clients.json}" ${exports[@]+"${exports[@]}"}
