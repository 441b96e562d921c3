#!/usr/bin/env bash
# Lint, import contracts, types and tests, in a virtual environment that this script makes and reuses.
#   bash tests/run.sh                     everything: about half an hour on two cores
#   bash tests/run.sh --quick             after every change: the static checks and the unit tests that are not marked as
#                                         `slow` or `distributed`; three minutes on two cores
#   bash tests/run.sh -k tokenize -x      arguments go to pytest, and the static checks are left out
# Tests run in two processes at once, file by file (pytest-xdist); REDONE_TEST_PROCESSES=1 runs them one after the other.
# PYTHON chooses the interpreter (3.10 or later), REDONE_VENV the environment's folder (default: .venv).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source tools/environment.sh
use_environment dev

processes=${REDONE_TEST_PROCESSES:-2}
at_once=(-n "$processes" --dist loadfile --no-loadscope-reorder) # in the order of the folders: the long ones come first

quick() {
  local log types failed=0
  log=$(mktemp)
  pyright >"$log" & # takes as long as the tests, on the other core
  types=$!
  echo "== lint";             ruff check . && ruff format --check . || failed=1
  echo "== import contracts"; lint-imports || failed=1
  echo "== fast unit tests";  python -m pytest tests/unit -m "not slow and not distributed" "${at_once[@]}" || failed=1
  echo "== types";            wait "$types" || failed=1
  cat "$log" && rm "$log"
  return "$failed"
}

if [ "${1-}" = --quick ]; then
  quick
elif [ $# -gt 0 ]; then
  python -m pytest "$@"
else
  echo "== lint";             ruff check . && ruff format --check .
  echo "== import contracts"; lint-imports
  echo "== types";            pyright
  echo "== tests";            python -m pytest "${at_once[@]}"
fi
