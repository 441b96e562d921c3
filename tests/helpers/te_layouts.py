"""Builds a model of the transformer_engine backend over stand-ins, on one process that takes itself for many.

    python -m tests.helpers.te_layouts '[{"parallel": {...}, "model": {...}, "packed": false}, ...]'

Prints what the stand-ins were called with in each case, as JSON.
"""

import json
import sys
from enum import Enum
from types import SimpleNamespace
from typing import Any

from tests.helpers import te_stand_ins

te_stand_ins.install()

import torch  # noqa: E402

from megatron_redone.config.fp8 import Fp8Config, Fp8Recipe  # noqa: E402
from megatron_redone.config.model import Backend, ModelConfig, Precision, Recompute  # noqa: E402
from megatron_redone.config.parallel import ParallelConfig  # noqa: E402
from megatron_redone.distributed import cpu_platform  # noqa: E402

cpu_platform.install()

from megatron.core import parallel_state  # noqa: E402
from torch.testing._internal.distributed.fake_pg import FakeStore  # noqa: E402

from megatron_redone.distributed.random import seed_all  # noqa: E402
from megatron_redone.models.architecture import parse_architecture  # noqa: E402
from megatron_redone.models.backends import block_spec  # noqa: E402
from megatron_redone.models.gpt import make_chunk  # noqa: E402
from megatron_redone.models.tensor_overlap import start_tensor_overlap  # noqa: E402
from megatron_redone.models.transformer_config import transformer_config  # noqa: E402
from megatron_redone.objectives.row_batch import place_rows  # noqa: E402

SHAPE = {
    **{"model_type": "qwen2", "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "intermediate_size": 256, "vocab_size": 512, "rms_norm_eps": 1e-6},
    **{"max_position_embeddings": 128, "rope_theta": 1e6, "tie_word_embeddings": True, "hidden_act": "silu"},
}
LENGTH = 64


def build(wanted: dict[str, Any]) -> dict[str, Any]:
    te_stand_ins.CALLS.clear()
    parallel = ParallelConfig(**wanted["parallel"])
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=parallel.model_parallel_size * 2)
    parallel_state.initialize_model_parallel(
        parallel.tensor_model_parallel_size,
        parallel.pipeline_model_parallel_size,
        context_parallel_size=parallel.context_parallel_size,
        create_gloo_process_groups=False,
    )
    seed_all(1, pipeline_rank=0)
    model, shape, device = _model(wanted["model"]), parse_architecture(SHAPE), torch.device("cpu")
    config = transformer_config(shape, model, parallel, Backend.transformer_engine, device)
    spec = block_spec(Backend.transformer_engine, config, 0, None)
    first = parallel.pipeline_model_parallel_size == 1
    chunk = make_chunk(
        shape, config, spec, Backend.transformer_engine, vocab_size=512, pre_process=True, post_process=first,
        vp_stage=None, device=device,
    )  # fmt: skip
    start_tensor_overlap(config, LENGTH // parallel.context_parallel_size)
    if first:
        _forward(chunk, parallel, wanted.get("packed", False))
    names = sorted(name for name, _ in chunk.named_parameters())
    parallel_state.destroy_model_parallel()
    torch.distributed.destroy_process_group()
    return json.loads(json.dumps({"calls": te_stand_ins.CALLS, "parameters": names}, default=_plain))


def _model(keys: dict[str, Any]) -> ModelConfig:
    fp8 = keys.pop("fp8", {})
    if "recipe" in fp8:
        fp8["recipe"] = Fp8Recipe(fp8["recipe"])
    if "recompute" in keys:
        keys["recompute"] = Recompute(keys["recompute"])
    precision = Precision(keys.pop("precision", "bf16"))
    return ModelConfig(precision=precision, backend=Backend.transformer_engine, fp8=Fp8Config(**fp8), **keys)


def _forward(chunk: Any, parallel: ParallelConfig, packed: bool) -> None:
    batch = {name: torch.zeros(1, LENGTH, dtype=torch.long) for name in ("tokens", "labels", "loss_mask")}
    batch["position_ids"] = torch.arange(LENGTH)[None]
    if packed:
        batch["cu_seqlens"] = torch.tensor([0, LENGTH // 2 - 1, LENGTH], dtype=torch.int32)
    context: Any = SimpleNamespace(config=parallel, context_rank=0, device=torch.device("cpu"))
    rows = place_rows(batch, context, kernel=True)
    chunk(rows.tokens, rows.position_ids, None, packed_seq_params=rows.layout)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return list(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__


if __name__ == "__main__":
    print(json.dumps([build(case) for case in json.loads(sys.argv[1])]))
