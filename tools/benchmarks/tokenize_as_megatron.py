"""The other side of tokenize.py: how Megatron-LM's tools/preprocess_data.py works, reduced to its loop.

A pool of workers parses each line and calls a Hugging Face fast tokenizer on each document; the main
process hands the ids to megatron-core's IndexedDatasetBuilder. Its default chunk size is kept. Where
Megatron-LM goes through transformers we call `tokenizers` directly, which is faster.
"""

import os
import sys

# A script's folder comes first on the path, where tokenize.py would stand for Python's own `tokenize`.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import json
import multiprocessing

import numpy as np
import tokenizers
import torch

EOD = "<|endoftext|>"


class Encoder:
    """One worker's tokenizer."""

    tokenizer: tokenizers.Tokenizer
    eod: int | None

    def __init__(self, path: str) -> None:
        self.path = path

    def start(self) -> None:
        """Loads the tokenizer, once in each worker."""
        Encoder.tokenizer = tokenizers.Tokenizer.from_file(self.path)
        Encoder.eod = Encoder.tokenizer.token_to_id(EOD)

    def encode(self, line: str) -> list[int | None]:
        """The ids of one document and its end."""
        return [*Encoder.tokenizer.encode(json.loads(line)["text"]).ids, Encoder.eod]


def main(corpus: str, prefix: str, tokenizer: str, workers: str) -> None:
    from megatron.core.datasets.indexed_dataset import DType, IndexedDatasetBuilder

    encoder = Encoder(tokenizer)
    vocab = tokenizers.Tokenizer.from_file(tokenizer).get_vocab_size()
    builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=DType.optimal_dtype(vocab))
    with multiprocessing.Pool(int(workers), initializer=encoder.start) as pool, open(corpus, encoding="utf-8") as lines:
        for ids in pool.imap(encoder.encode, lines, 32):
            builder.add_document(torch.from_numpy(np.array(ids, dtype=np.int32)), [len(ids)])
    builder.finalize(f"{prefix}.idx")


if __name__ == "__main__":
    main(*sys.argv[1:])
