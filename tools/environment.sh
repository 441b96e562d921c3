# shellcheck shell=bash
# The virtual environment of tests/run.sh and examples/quickstart/run.sh; they source this file and call
#
#   use_environment EXTRAS        such as dev; the names are in setup.py
#
# in the repository's root. It makes the environment, or adds what it lacks, and puts it first on the PATH.
# PYTHON chooses the interpreter (3.10 or later), REDONE_VENV the environment's folder (default: .venv; `none` takes the
# environment that is active as it is, as in a container).

use_environment() {
  local extras=$1 python=${PYTHON:-python3} venv=${REDONE_VENV:-.venv} stamp
  [ "$venv" != none ] || return 0
  case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "$0: Python 3.10 or later is needed, $("$python" --version) was found; set PYTHON=/path/to/python3" >&2
    exit 1
  }
  # Where the environment is active already, its interpreter would go with the old folder: the one below it stays.
  python=$("$python" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))')

  # It is made anew when the interpreter or the requirements change, and only then.
  stamp=$({ "$python" --version; cat setup.py tools/environment.sh; } | cksum)
  if [ -e "$venv" ] && [ ! -e "$venv/.stamp" ]; then
    echo "$0: $venv was not made by this script; name another folder with REDONE_VENV" >&2
    exit 1
  fi
  if [ "$(head -n 1 "$venv/.stamp" 2>/dev/null)" != "$stamp" ]; then
    echo "== making $venv (a few minutes, once)"
    rm -rf "$venv"
    mkdir -p "$venv"
    echo begun >"$venv/.stamp"
    "$python" -m venv "$venv"
    command -v nvidia-smi >/dev/null || install_cpu_torch "$venv"
    echo "$stamp" >"$venv/.stamp"
  fi
  if ! grep -qx "$extras" "$venv/.stamp"; then
    echo "== installing what it needs ($extras)"
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --editable ".[$extras]"
    echo "$extras" >>"$venv/.stamp"
  fi
  export PATH="$venv/bin:$PATH"
}

# Without a CUDA device a CPU build of torch saves gigabytes of CUDA libraries: a local one if pip knows one, else
# PyTorch's own. Where neither is to be had, the requirements bring the usual build.
install_cpu_torch() {
  local pip=("$1/bin/python" -m pip install -qq --disable-pip-version-check)
  "${pip[@]}" --no-index --no-deps torch 2>/dev/null ||
    "${pip[@]}" --retries 1 --timeout 10 --index-url https://download.pytorch.org/whl/cpu torch 2>/dev/null || true
}
