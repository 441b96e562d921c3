"""A search over three tiny sources, each a rule of its own that can be learned in a few steps."""

from pathlib import Path

import numpy as np

from megatron_redone.formats.indexed import IndexedDatasetWriter
from tests.helpers.pretrain_runs import write_model

_VOCAB = 100


def write_walks(prefix: Path, step: int, seed: int, documents: int = 300, noise: float = 0.1) -> Path:
    """Documents in which each token is the one before plus `step`, but for noise."""
    random = np.random.default_rng(seed)
    with IndexedDatasetWriter(prefix, np.int32) as writer:
        for _ in range(documents):
            length = int(random.integers(20, 60))
            walk = (int(random.integers(_VOCAB)) + step * np.arange(length)) % _VOCAB
            spoiled = random.random(length) < noise
            writer.add(np.where(spoiled, random.integers(0, _VOCAB, length), walk), np.array([length]))
        writer.finish()
    return prefix


def write_search(folder: Path, sources: str = "abc") -> list[str]:
    """Datasets a, b, c, d and a target of the rules of a and b, and the keys of a search that takes seconds."""
    write_model(folder / "model", num_hidden_layers=1)
    for seed, (name, step) in enumerate({"a": 3, "b": 7, "c": 31, "d": 43}.items()):
        write_walks(folder / name, step, seed)
    write_walks(folder / "like_a", 3, 11, 40)
    write_walks(folder / "like_b", 7, 12, 40)
    write_walks(folder / "noise", 0, 13, 40, noise=1.0)
    return [
        "sources=[" + ", ".join(f"{{path: {folder}/{name}}}" for name in sources) + "]",
        f"target=[{{path: {folder}/like_a, weight: 2}}, {{path: {folder}/like_b}}]",
        "proxies=10",
        "kept_out=4",
        "seeds=2",
        "device=cpu",
        f"proxy.model.hf_config={folder}/model",
        "proxy.model.precision=fp32",
        "proxy.seq_length=32",
        "proxy.train_tokens=10240",
        "proxy.global_batch_size=16",
        "proxy.micro_batch_size=16",
        "proxy.target_samples=32",
        "proxy.optimizer.lr=1e-2",
    ]
