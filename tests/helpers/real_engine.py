"""Models over Transformer Engine's own classes, made without a device: what they hold, and under which names.

    python -m tests.helpers.real_engine '[{"parallel": {...}, "model": {...}, "shape": {...}}, ...]'

A card of the Hopper generation is pretended while its Python is imported and its modules are made, on one process that
takes itself for many. Prints for each case how the same model of the torch backend compares, as JSON.
"""

import json
import sys
from types import SimpleNamespace
from typing import Any

import torch

_CARD = SimpleNamespace(major=9, minor=0, multi_processor_count=132, total_memory=80 << 30, name="NVIDIA H100")


def pretend_card() -> None:
    """Answers what Transformer Engine asks a device for when it is imported, and when modules are made."""
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: 1
    torch.cuda.get_device_properties = lambda *_: _CARD  # type: ignore[assignment]
    torch.cuda.get_device_capability = lambda *_: (9, 0)  # type: ignore[assignment]
    torch.cuda.is_current_stream_capturing = lambda: False  # type: ignore[assignment]


if __name__ == "__main__":
    pretend_card()
    import transformer_engine.pytorch  # type: ignore[import-not-found]  # noqa: F401

    from tests.helpers import reference_kernels

    reference_kernels.install()

from megatron_redone.distributed import cpu_platform  # noqa: E402

if __name__ == "__main__":
    cpu_platform.install()

from megatron.core import parallel_state  # noqa: E402
from megatron.core.fp8_utils import get_fp8_recipe, is_float8tensor  # noqa: E402
from megatron.core.transformer.enums import AttnBackend  # noqa: E402
from torch.testing._internal.distributed.fake_pg import FakeStore  # noqa: E402

from megatron_redone.architectures import parse_architecture  # noqa: E402
from megatron_redone.config.loader import load_config  # noqa: E402
from megatron_redone.config.model import Backend, ModelConfig, Precision  # noqa: E402
from megatron_redone.config.parallel import ParallelConfig  # noqa: E402
from megatron_redone.distributed.random import seed_all  # noqa: E402
from megatron_redone.models.backends import block_spec  # noqa: E402
from megatron_redone.models.gpt import make_chunk  # noqa: E402
from megatron_redone.models.set_weight import set_weight  # noqa: E402
from megatron_redone.models.transformer_config import transformer_config  # noqa: E402
from megatron_redone.training.tensor_places import ChunkPlaces, find_places  # noqa: E402

SHAPE = {
    **{"model_type": "qwen2", "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "intermediate_size": 512, "vocab_size": 512, "rms_norm_eps": 1e-6},
    **{"max_position_embeddings": 128, "rope_theta": 1e6, "tie_word_embeddings": True, "hidden_act": "silu"},
}


def build(wanted: dict[str, Any]) -> dict[str, Any]:
    """One case: the first pipeline stage's model chunks of both backends."""
    parallel = load_config(ParallelConfig, None, [f"{name}={value}" for name, value in wanted["parallel"].items()])
    size = parallel.model_parallel_size * 2
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=size)
    parallel_state.initialize_model_parallel(
        parallel.tensor_model_parallel_size,
        parallel.pipeline_model_parallel_size,
        context_parallel_size=parallel.context_parallel_size,
        create_gloo_process_groups=False,
    )
    seed_all(1, pipeline_rank=0)
    words = {"precision": "bf16", **wanted["model"]}
    model = load_config(ModelConfig, None, [f"{key}={value}" for key, value in words.items()])
    plain = load_config(ModelConfig, None, ["precision=bf16"])
    theirs = make_chunks(wanted, model, parallel, Backend.transformer_engine)
    ours = make_chunks(wanted, plain, parallel, Backend.torch)
    found = _compare([find_places(c) for c in theirs[1]], [find_places(c) for c in ours[1]])
    fp8 = model.precision is Precision.fp8
    recipe = type(get_fp8_recipe(theirs[0])).__name__ if fp8 else None
    in_fp8 = sum(is_float8tensor(weight) for chunk in theirs[1] for weight in chunk.parameters())
    names = sorted({type(module).__module__.split(".")[0] for chunk in theirs[1] for module in chunk.modules()})
    parallel_state.destroy_model_parallel()
    torch.distributed.destroy_process_group()
    return {**found, "recipe": recipe, "weights_in_fp8": in_fp8, "packages": names}


def make_chunks(
    wanted: dict[str, Any], model: ModelConfig, parallel: ParallelConfig, backend: Backend, pipeline_rank: int = 0
) -> tuple[Any, list[Any]]:
    """The model chunks of a pipeline stage on the CPU, made as for a card, and megatron-core's configuration."""
    shape = parse_architecture({**SHAPE, **wanted.get("shape", {})})
    on_cuda = backend is Backend.transformer_engine
    config = transformer_config(shape, model, parallel, backend, torch.device("cuda" if on_cuda else "cpu"))
    if on_cuda and wanted.get("unfused"):
        config.attention_backend = AttnBackend.unfused  # the one whose kernels are torch's
    pieces = parallel.virtual_pipeline_model_parallel_size or 1
    is_last = pipeline_rank == parallel.pipeline_model_parallel_size - 1
    chunks = []
    for piece in range(pieces):
        vp_stage = piece if pieces > 1 else None
        spec = block_spec(backend, config, pipeline_rank, vp_stage)
        chunks.append(
            make_chunk(
                shape, config, spec, backend, vocab_size=512, pre_process=pipeline_rank == 0 and piece == 0,
                post_process=is_last and piece == pieces - 1, vp_stage=vp_stage, device=torch.device("cpu"),
            )
        )  # fmt: skip
    return config, chunks


def _compare(theirs: list[ChunkPlaces], ours: list[ChunkPlaces]) -> dict[str, Any]:
    """Whether both hold the same parts of full tensors, and whether values go over and come back bit for bit."""
    mine, other = _by_place(ours), _by_place(theirs)
    same_places = mine.keys() == other.keys()
    same_shapes = same_places and all(mine[key].shape == other[key].shape for key in mine)
    equal = same_shapes
    generator = torch.Generator().manual_seed(7)
    for key in mine if same_shapes else ():
        sent = torch.randn(mine[key].shape, generator=generator).to(torch.bfloat16)
        set_weight(other[key], sent)  # type: ignore[arg-type]
        back = other[key].dequantize() if is_float8tensor(other[key]) else other[key]
        # FP8 holds the rounded value: of three bits behind the first.
        close = torch.allclose(back.float(), sent.float(), rtol=2**-3, atol=0.05)
        equal = equal and (close if is_float8tensor(other[key]) else torch.equal(back, sent))
    objects = sorted(name.rpartition(".")[2] for chunk in theirs for name in chunk.objects)
    return {"same_places": same_places, "same_shapes": same_shapes, "bit_equal": equal, "tensors": len(mine),
            "objects": len(objects), "missing": sorted(map(str, mine.keys() ^ other.keys()))[:4]}  # fmt: skip


def _by_place(chunks: list[ChunkPlaces]) -> dict[Any, torch.Tensor]:
    return {
        tuple((part.key, tuple(part.offsets), tuple(part.sizes)) for part in chunk.places[name].parts): tensor.detach()
        for chunk in chunks
        for name, tensor in chunk.tensors.items()
    }


if __name__ == "__main__":
    for case in json.loads(sys.argv[1]):
        print(json.dumps(build(case)), flush=True)
