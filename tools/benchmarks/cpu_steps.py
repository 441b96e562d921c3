"""Training steps on the CPU, one for each line of standard input: a process that another one measures.

    PYTHONPATH=CHECKOUT python tools/benchmarks/cpu_steps.py

A line is `pretrain`, `sft` or `dpo`: plain rows, packed rows of which half is learned, and packed pairs. The answer is
the CPU seconds of the step. The code that trains is the checkout's on the path, so that two checkouts can be compared
step by step: see gpu_path.py.
"""

import os
import sys
import time

# A script's folder comes first on the path, where tokenize.py would stand for Python's own `tokenize`.
sys.path[0] = os.environ["PYTHONPATH"]

import torch

from megatron_redone.architectures import parse_architecture
from megatron_redone.batches.micro_batch import MicroBatch, PairColumns
from megatron_redone.config.model import ModelConfig, Precision
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.config.preference import PreferenceLossConfig
from megatron_redone.distributed import start_context
from megatron_redone.models.build import build_model
from megatron_redone.models.wrapping import wrap_data_parallel
from megatron_redone.objectives.language_modelling import LanguageModelling
from megatron_redone.objectives.preference import PreferenceObjective
from megatron_redone.training.optimizer import build_optimizer
from megatron_redone.training.train_step import train_step

VOCABULARY, LENGTH, SEGMENTS = 4096, 256, 8
SHAPE = {
    **{"model_type": "qwen2", "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "intermediate_size": 704, "vocab_size": VOCABULARY, "rms_norm_eps": 1e-6},
    **{"max_position_embeddings": 512, "rope_theta": 1e6, "tie_word_embeddings": True, "hidden_act": "silu"},
}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    context = start_context(ParallelConfig(), Device.cpu)
    model = build_model(parse_architecture(SHAPE), ModelConfig(precision=Precision.fp32), context)
    chunks = wrap_data_parallel(model)
    optimizer = build_optimizer(chunks, OptimizerConfig())
    plain, pairs = LanguageModelling(model.row_placer), PreferenceObjective(PreferenceLossConfig(), model.row_placer)
    kinds = {
        "pretrain": (plain, [plain_row() for _ in range(2)]),
        "sft": (plain, [packed_row() for _ in range(2)]),
        "dpo": (pairs, [packed_row(with_pairs=True) for _ in range(2)]),
    }
    for line in sys.stdin:
        objective, batches = kinds[line.strip()]
        begin = time.process_time()
        train_step(chunks, optimizer, objective, batches)
        print(time.process_time() - begin, flush=True)


def plain_row() -> MicroBatch:
    """Random tokens that are read through."""
    ids = torch.randint(0, VOCABULARY, (1, LENGTH + 1))
    return MicroBatch(
        tokens=ids[:, :-1].contiguous(),
        labels=ids[:, 1:].contiguous(),
        loss_mask=torch.ones(1, LENGTH),
        position_ids=torch.arange(LENGTH)[None],
    )


def packed_row(*, with_pairs: bool = False) -> MicroBatch:
    """Segments of equal length, the second half of each learned; two neighbours are a pair."""
    ids, part = torch.randint(0, VOCABULARY, (1, LENGTH + 1)), LENGTH // SEGMENTS
    positions = torch.arange(part).repeat(SEGMENTS)[None]
    learned = positions >= part // 2
    pairs = PairColumns(
        numbers=torch.arange(SEGMENTS // 2),
        responses=torch.arange(SEGMENTS).repeat_interleave(part)[None] * learned,
        lengths=torch.full((SEGMENTS,), float(part - part // 2)),
        prefixes=torch.zeros(SEGMENTS, 2, dtype=torch.int32),
        reference=torch.zeros(SEGMENTS // 2, 2),
        rewards=torch.zeros(SEGMENTS // 2, 2),
    )
    return MicroBatch(
        tokens=ids[:, :-1].contiguous(),
        labels=ids[:, 1:].contiguous(),
        loss_mask=learned.float(),
        position_ids=positions,
        cu_seqlens=torch.arange(0, LENGTH + 1, part, dtype=torch.int32),
        pairs=pairs if with_pairs else None,
    )


if __name__ == "__main__":
    main()
