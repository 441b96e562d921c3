#!/usr/bin/env bash
# The tests that need Transformer Engine itself, without a device: in an environment of their own, which this makes.
#   bash tests/transformer_engine.sh ENVIRONMENT [TORCH_HALF.whl]
# Its compiled half for torch is built from source (Python 3.12, nvcc, half an hour) where no wheel of it is given. The
# environment takes 6 GB; what is there is kept.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment=${1:?usage: transformer_engine.sh ENVIRONMENT [TORCH_HALF.whl]}
half=${2:-transformer-engine-torch==2.11.0}
if [ ! -x "$environment/bin/python" ]; then
  "${PYTHON:-python3.12}" -m venv "$environment"
fi
pip=("$environment/bin/python" -m pip install --quiet --disable-pip-version-check)
if ! "$environment/bin/python" -c "import importlib.metadata as m; m.version('transformer_engine_torch')" 2>/dev/null; then
  "${pip[@]}" "torch==2.11.0" pybind11 setuptools wheel packaging ninja
  "${pip[@]}" --no-deps "transformer-engine==2.11.0" "transformer-engine-cu13==2.11.0"
  "${pip[@]}" --no-deps --no-build-isolation "$half"
  "${pip[@]}" pydantic importlib-metadata einops onnxscript onnx pytest
  "${pip[@]}" --no-deps "megatron-core>=0.16.1,<0.17"
  "${pip[@]}" "omegaconf>=2.3,<2.5" "psutil>=5.9" "safetensors>=0.4" "orjson>=3.9" "tokenizers>=0.20,<0.24" \
    "filelock>=3.20,<5" "xxhash>=3" "rich>=13"
fi
PYTHONPATH=$PWD exec "$environment/bin/python" -W ignore -m pytest -q tests/transformer_engine
