#!/usr/bin/env bash
# Lint, import contracts, types and tests, in a virtual environment that this script makes and reuses.
#   bash tests/run.sh                     everything
#   bash tests/run.sh -k tokenize -x      arguments go to pytest, and the static checks are left out
# PYTHON chooses the interpreter (3.10 or later), REDONE_VENV the environment's folder (default: .venv).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
venv=${REDONE_VENV:-.venv}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
  echo "tests/run.sh: Python 3.10 or later is needed, $("$python" --version) was found; set PYTHON=/path/to/python3" >&2
  exit 1
}

# The environment is rebuilt when the interpreter or the requirements change, and only then.
stamp=$({ "$python" --version; cat setup.py tests/run.sh; } | cksum)
if [ "$(cat "$venv/.stamp" 2>/dev/null)" != "$stamp" ]; then
  echo "== making $venv (a few minutes, once)"
  rm -rf "$venv"
  "$python" -m venv "$venv"
  pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check)
  if ! command -v nvidia-smi >/dev/null; then
    # Without a CUDA device a local CPU build of torch, if pip knows one, saves gigabytes of CUDA libraries.
    "${pip[@]}" --no-index --no-deps torch 2>/dev/null || true
  fi
  "${pip[@]}" --editable '.[dev]'
  echo "$stamp" >"$venv/.stamp"
fi
export PATH="$PWD/$venv/bin:$PATH"
case $venv in /*) export PATH="$venv/bin:$PATH" ;; esac

if [ $# -gt 0 ]; then
  exec python -m pytest "$@"
fi
echo "== lint";             ruff check . && ruff format --check .
echo "== import contracts"; lint-imports
echo "== types";            pyright
echo "== tests";            python -m pytest
