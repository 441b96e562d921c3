"""The transformer_engine backend, built over stand-ins with Transformer Engine's own parameter names.

What is passed under a wrong name fails here, without a CUDA device; what the kernels do with it, a device must show
(tests/gpu).
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.models.engine_version import engine_version

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
LENGTH = 64  # of the rows in te_layouts.py
GRAPHS = engine_version() == (0, 16)
TP_SP = {"tensor_model_parallel_size": 2, "sequence_parallel": True}
CASES: dict[str, dict[str, Any]] = {
    "bf16": {"parallel": {}, "model": {}},
    "packed": {"parallel": {}, "model": {}, "packed": True},
    "context": {"parallel": {"context_parallel_size": 2}, "model": {}},
    "packed_context": {"parallel": {"context_parallel_size": 2}, "model": {}, "packed": True},
    "context_heads": {
        "parallel": {"context_parallel_size": 2, "context_parallel_exchange": "heads"},
        "model": {},
        "packed": True,
    },
    "context_pipeline": {"parallel": {"context_parallel_size": 2, "pipeline_model_parallel_size": 2}, "model": {}},
    "overlap": {"parallel": {**TP_SP, "tp_comm_overlap": True}, "model": {"precision": "fp8"}},
    "pipeline": {"parallel": {"pipeline_model_parallel_size": 2}, "model": {"precision": "fp8"}},
    "delayed": {
        "parallel": TP_SP,
        "model": {"precision": "fp8", "fp8": {"recipe": "delayed", "margin": 1, "amax_history": 16}},
    },
    "tensorwise": {
        "parallel": {},
        "model": {
            "precision": "fp8",
            "fp8": {"recipe": "tensorwise", "first_layers_bf16": 1, "last_layers_bf16": 2, "fp8_param_gather": True},
        },
    },
    "blockwise": {"parallel": {}, "model": {"precision": "fp8", "fp8": {"recipe": "blockwise"}}},
    "mxfp8": {"parallel": {}, "model": {"precision": "fp8", "fp8": {"recipe": "mxfp8"}}},
    "cross_entropy": {"parallel": {}, "model": {"cross_entropy_fusion_impl": "te"}},
    "recompute": {"parallel": {}, "model": {"recompute": "full"}, "optimizer": {}},
    "recompute_fp8": {"parallel": {}, "model": {"precision": "fp8", "recompute": "full"}, "optimizer": {}},
    "recompute_modules": {
        "parallel": {},
        "model": {
            "precision": "fp8",
            "recompute": "selective",
            "recompute_modules": ["core_attn", "mlp"],
        },
        "optimizer": {},
    },
    "yarn": {
        "parallel": {},
        "model": {},
        "shape": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}},
    },
    "head_norms": {"parallel": {}, "model": {}, "shape": {"model_type": "qwen3", "head_dim": 32}},
    "interleaved": {
        "parallel": {"pipeline_model_parallel_size": 2, "virtual_pipeline_model_parallel_size": 2},
        "model": {},
    },
    **({"graphs": {"parallel": {}, "model": {"cuda_graph_impl": "local"}, "optimizer": {}}} if GRAPHS else {}),
    "adam": {"parallel": {"overlap_param_gather": True}, "model": {}, "optimizer": {}},
}


@pytest.fixture(scope="module")
def built() -> dict[str, dict[str, Any]]:
    """Every case, from one process: megatron-core looks for Transformer Engine when it is imported."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.helpers.te_layouts", json.dumps(list(CASES.values()))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(CASES, json.loads(done.stdout.splitlines()[-1]), strict=True))


def _calls(case: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [given for called, given in case["calls"] if called == name]


def test_layers(built: dict[str, dict[str, Any]]) -> None:
    """The norm is part of the product after it, under the names that checkpoints of both backends have."""
    norms = [given["normalization"] for given in _calls(built["bf16"], "LayerNormLinear")]
    assert norms == ["RMSNorm"] * 8  # two of each of four layers
    assert [given["bias"] for given in _calls(built["bf16"], "LayerNormLinear")] == [True, False] * 4
    assert {given["eps"] for given in _calls(built["bf16"], "LayerNormLinear")} == {1e-6}
    attention = _calls(built["bf16"], "DotProductAttention")
    assert [given["num_gqa_groups"] for given in attention] == [2] * 4
    assert {given["attn_mask_type"] for given in attention} == {"causal"}
    names = built["bf16"]["parameters"]
    for name in ("self_attention.linear_qkv.layer_norm_weight", "mlp.linear_fc1.layer_norm_weight"):
        assert f"decoder.layers.3.{name}" in names
    assert "decoder.final_layernorm.weight" in names
    assert not _calls(built["bf16"], "fp8_autocast")


def test_packed_rows_reach_attention_and_rope(built: dict[str, dict[str, Any]]) -> None:
    for given in _calls(built["packed"], "DotProductAttention.forward"):
        assert given["qkv_format"] == "thd"
        assert given["cu_seqlens_q"] == given["cu_seqlens_kv"] == [3]
        assert given["attn_mask_type"] == "padding_causal"
    rope = _calls(built["packed"], "apply_rotary_pos_emb")
    assert rope and all(given["tensor_format"] == "thd" and given["fused"] for given in rope)


def test_context_parallel(built: dict[str, dict[str, Any]]) -> None:
    for given in _calls(built["context"], "DotProductAttention"):
        assert given["cp_group"] == "ProcessGroup"
        assert given["cp_comm_type"] == "p2p"
        assert len(given["cp_global_ranks"]) == 2
    assert all("cp_group" not in given for given in _calls(built["bf16"], "DotProductAttention"))


def test_context_parallelism_over_heads(built: dict[str, dict[str, Any]]) -> None:
    attention = _calls(built["context_heads"], "DotProductAttention")
    assert attention and {given["cp_comm_type"] for given in attention} == {"a2a"}


def test_lengths_may_vary_over_a_pipeline_under_context_parallelism(built: dict[str, dict[str, Any]]) -> None:
    """megatron-core's check of experts refuses that by default, also where there are none."""
    assert len(_calls(built["context_pipeline"], "DotProductAttention")) == 2


def test_packed_rows_under_context_parallelism(built: dict[str, dict[str, Any]]) -> None:
    """Segments of 31 and 33 places are padded to 32 and 36, and the row to 128; a rank holds half."""
    attention = _calls(built["packed_context"], "DotProductAttention.forward")
    assert len(attention) == 4
    for given in attention:
        assert given["qkv_format"] == "thd" and given["query_layer"][0] == 64 and given["max_seqlen_q"] == 60
        assert given["cu_seqlens_q_padded"] == given["cu_seqlens_kv_padded"] == [4]
    rope = _calls(built["packed_context"], "apply_rotary_pos_emb")
    assert rope and all(given["cp_size"] == 2 for given in rope)


def test_tensor_parallel_and_its_overlap(built: dict[str, dict[str, Any]]) -> None:
    for given in _calls(built["overlap"], "Linear") + _calls(built["overlap"], "LayerNormLinear"):
        assert given["tp_size"] == 2 and given["sequence_parallel"] and given["ub_overlap_ag"]
        assert given["ub_name"] in ("qkv", "proj", "fc1", "fc2")
    [buffers] = _calls(built["overlap"], "initialize_ub")
    assert buffers["shape"] == [64, 128] and buffers["tp_size"] == 2 and buffers["quantization_modes"] == ["fp8"]
    assert not _calls(built["delayed"], "initialize_ub")


def test_a_stage_of_a_pipeline(built: dict[str, dict[str, Any]]) -> None:
    assert len(_calls(built["pipeline"], "DotProductAttention")) == 2


def test_recipes(built: dict[str, dict[str, Any]]) -> None:
    [delayed, *_] = _calls(built["delayed"], "TEDelayedScaling") or _calls(built["delayed"], "DelayedScaling")
    assert (delayed["margin"], delayed["amax_history_len"], delayed["amax_compute_algo"]) == (1, 16, "max")
    assert delayed["fp8_format"] == "hybrid"
    for case, recipe, operands in (
        ("tensorwise", "Float8CurrentScaling", "hybrid"),
        ("blockwise", "Float8BlockScaling", "e4m3"),
        ("mxfp8", "MXFP8BlockScaling", "e4m3"),
    ):
        found = _calls(built[case], recipe)
        assert found and {given["fp8_format"] for given in found} == {operands}


def test_fp8_regions(built: dict[str, dict[str, Any]]) -> None:
    """One over all layers for delayed scaling, one a layer for the others, none for layers kept in bf16."""
    assert len(_calls(built["delayed"], "fp8_autocast")) == 1
    assert len(_calls(built["blockwise"], "fp8_autocast")) == 4
    assert len(_calls(built["tensorwise"], "fp8_autocast")) == 1
    [weights] = _calls(built["tensorwise"], "fp8_model_init")
    assert weights["enabled"]
    assert all(given["fp8_group"] == "ProcessGroup" for given in _calls(built["delayed"], "fp8_autocast"))


def test_cross_entropy(built: dict[str, dict[str, Any]]) -> None:
    [given] = _calls(built["cross_entropy"], "parallel_cross_entropy")
    assert given["inp"] == [LENGTH, 1, 512] and given["target"] == [LENGTH, 1]
    assert given["dist_process_group"] == "ProcessGroup" and not given["is_cg_capturable"]


def test_recomputed_activations(built: dict[str, dict[str, Any]]) -> None:
    """Layers run twice; under FP8 by Transformer Engine's own function, which keeps the scales of the first pass."""
    for case in ("recompute", "recompute_fp8"):
        assert len(_calls(built[case], "DotProductAttention.forward")) == 2 * 4
        assert len(_calls(built[case], "Linear.forward")) == 2 * 2 * 4
    assert len(_calls(built["recompute_fp8"], "checkpoint")) == 4
    assert not _calls(built["recompute"], "checkpoint")
    modules = built["recompute_modules"]
    assert {given["function"] for given in _calls(modules, "checkpoint")} == {"MLP"}
    assert len(_calls(modules, "DotProductAttention.forward")) == 2 * 4
    assert len(_calls(modules, "Linear.forward")) == 3 * 4  # the attention's own once, the feed-forward's twice


def test_norms_of_queries_and_keys(built: dict[str, dict[str, Any]]) -> None:
    widths = [
        given.get("hidden_size", given.get("normalized_shape")) for given in _calls(built["head_norms"], "RMSNorm")
    ]
    assert sorted(widths) == [32] * 8 + [128]
    assert "decoder.layers.0.self_attention.q_layernorm.weight" in built["head_norms"]["parameters"]


def test_scores_carry_the_factor_of_yarn(built: dict[str, dict[str, Any]]) -> None:
    """transformers multiplies cosine and sine by it, of queries and of keys: 0.1 ln 4 + 1; a head has 32 channels."""
    for given in _calls(built["yarn"], "DotProductAttention"):
        assert given["softmax_scale"] == pytest.approx((0.1 * math.log(4) + 1) ** 2 / math.sqrt(32))
    assert all(given["softmax_scale"] is None for given in _calls(built["bf16"], "DotProductAttention"))


def test_pieces_of_an_interleaved_pipeline(built: dict[str, dict[str, Any]]) -> None:
    attention = _calls(built["interleaved"], "DotProductAttention")
    assert [given["layer_number"] for given in attention] == [1, 3]  # of four, on the first of two ranks


@pytest.mark.skipif(not GRAPHS, reason="graphs of another megatron-core than 0.16 are refused")
def test_layers_as_cuda_graphs(built: dict[str, dict[str, Any]]) -> None:
    """megatron-core has recorded every layer's two passes, in the order in which it will capture them."""
    assert built["graphs"]["graphs"] == ["fwd"] * 4 + ["bwd"] * 4
    assert not built["bf16"]["graphs"]


def test_optimizer(built: dict[str, dict[str, Any]]) -> None:
    [given] = _calls(built["adam"], "FusedAdam")
    assert {group["wd_mult"] for group in given["params"]} == {0.0, 1.0}  # norms and biases do not decay
    assert given["lr"] == 1e-5 and given["betas"] == [0.9, 0.95] and given["weight_decay"] == 0.1


def test_checkpoints_hold_what_every_backend_has(built: dict[str, dict[str, Any]]) -> None:
    """Transformer Engine's norms claim a state, which no other backend would write, and which is empty."""
    for case in ("bf16", "head_norms"):
        saved = built[case]["saved"]
        assert set(built[case]["parameters"]) <= set(saved)
        assert not [key for key in saved if key.endswith("layernorm._extra_state")]
