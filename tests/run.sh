#!/usr/bin/env bash
# Lint, import contracts, types and tests, in a virtual environment that this script makes and reuses.
#   bash tests/run.sh                     everything
#   bash tests/run.sh -k tokenize -x      arguments go to pytest, and the static checks are left out
# PYTHON chooses the interpreter (3.10 or later), REDONE_VENV the environment's folder (default: .venv).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source tools/environment.sh
use_environment dev

if [ $# -gt 0 ]; then
  exec python -m pytest "$@"
fi
echo "== lint";             ruff check . && ruff format --check .
echo "== import contracts"; lint-imports
echo "== types";            pyright
echo "== tests";            python -m pytest
