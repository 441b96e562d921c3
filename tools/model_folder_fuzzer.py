"""Spoils model folders and reads each as every command does: as transformers reads it, or refused in one line.

python tools/model_folder_fuzzer.py [--folders 300] [--seed 0] [--keep DIR]

Prints JSON: `folders`, `refused`, `equal`, `folders_silently_different` and `tracebacks`, and on stderr a line for each
of the last two. A folder that is read here but that transformers refuses counts as silently different too.
"""

import argparse
import json
import logging
import shutil
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

HERE = str(Path(__file__).resolve().parent)
sys.path[:] = [str(Path(HERE).parent), *(path for path in sys.path if path != HERE), HERE]

import torch
import transformers
from model_folder_faults import read_json, spoil

from megatron_redone.architectures import read_architecture
from megatron_redone.architectures.unsupported_model import UnsupportedModelError
from megatron_redone.batches.row_placer import RowPlacer, Rows
from megatron_redone.config.model import Backend, ModelConfig, Precision
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.datasets.token_rows import whole_rows
from megatron_redone.distributed import ParallelContext, start_context
from megatron_redone.errors import UserError
from megatron_redone.model_folders import check_model_folder
from megatron_redone.models.build import build_model
from megatron_redone.models.parallel_sizes import check_parallel_sizes
from megatron_redone.objectives.objective import LossFunction, Report
from megatron_redone.training.initial_weights import find_initial_weights
from megatron_redone.training.train_step import evaluate_step

_SECONDS = 120  # a folder that takes longer hangs
_TOKENS = 24
_SMALL: dict[str, Any] = {
    **{"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 64, "initializer_range": 0.1},
}
_LLAMA3 = {
    **{"rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "original_max_position_embeddings": 16,
}
_SOUND: dict[str, tuple[Any, dict[str, Any]]] = {
    "qwen2_tied": (transformers.Qwen2Config, {"tie_word_embeddings": True}),
    "qwen2_untied": (transformers.Qwen2Config, {"rope_parameters": {"rope_type": "default", "rope_theta": 1e5}}),
    "qwen3": (transformers.Qwen3Config, {"head_dim": 16, "tie_word_embeddings": True}),
    "llama": (transformers.LlamaConfig, {}),
    "llama3": (transformers.LlamaConfig, {"rope_parameters": _LLAMA3, "tie_word_embeddings": True}),
    "mistral": (transformers.MistralConfig, {"sliding_window": 32}),
    "mistral_full": (transformers.MistralConfig, {"sliding_window": None, "head_dim": 16}),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the flags and prints; 1 where a folder was read otherwise than transformers reads it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folders", type=int, default=300, help="how many to spoil")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other folders")
    parser.add_argument("--keep", type=Path, help="where folders that are read wrongly are kept")
    arguments = parser.parse_args(argv)
    found = fuzz(arguments.folders, arguments.seed, arguments.keep)
    print(json.dumps(found))
    return 1 if found["folders_silently_different"] or found["tracebacks"] else 0


def fuzz(folders: int, seed: int, keep: Path | None = None) -> dict[str, int]:
    """Counts by outcome."""
    _be_quiet()
    context = start_context(ParallelConfig(), Device.cpu)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(folders):
            rng, folder = Random(f"{seed}/{number}"), Path(scratch) / "spoilt"
            done = spoil(sound_folder(Path(scratch), rng), folder, rng)
            outcome, detail = judge(folder, context)
            counts[outcome] += 1
            if outcome not in ("refused", "equal"):
                print(f"{seed}/{number}: {outcome}: {detail}; {'; '.join(done)}", file=sys.stderr, flush=True)
                if keep is not None:
                    shutil.copytree(folder, keep / f"{seed}-{number}", symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(folder)
    names = ("refused", "equal", "folders_silently_different", "tracebacks")
    return {"folders": folders, "seed": seed, **{name: counts[name] for name in names}}


def sound_folder(scratch: Path, rng: Random) -> Path:
    """A folder that transformers has written, of one family, in one of two spellings, in one file or in shards."""
    name, old, shards = rng.choice(sorted(_SOUND)), rng.random() < 0.4, rng.random() < 0.4
    folder = scratch / f"{name}-{'old' if old else 'new'}-{'shards' if shards else 'single'}"
    if not folder.is_dir():
        config_class, keys = _SOUND[name]
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config_class(**_SMALL, **keys)).float()
        for key, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.data.normal_(1.0 if "norm" in key else 0.0, 0.2)
        model.save_pretrained(folder, max_shard_size="8KB" if shards else "1GB")
        if old:
            _spell_as_before(folder / "config.json")
    return folder


def _spell_as_before(file: Path) -> None:
    """As transformers 4 writes it."""
    content = read_json(file)
    rope = content.pop("rope_parameters")
    content["rope_theta"] = rope.pop("rope_theta")
    content["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    content["torch_dtype"] = content.pop("dtype")
    content.pop("layer_types", None)
    file.write_text(json.dumps(content), encoding="utf-8")


def judge(folder: Path, context: ParallelContext) -> tuple[str, str]:
    """What became of a folder, and the reason."""
    tokens = torch.randint(1, 64, (_TOKENS + 1,), generator=torch.Generator().manual_seed(1))
    try:
        with _limit():
            _check_alike(folder)
            ours = _read(folder, context, tokens)
    except UserError as error:
        text = str(error)
        return ("refused", text) if "\n" not in text and len(text) < 1000 else ("tracebacks", f"no line: {text}")
    except Exception as error:
        return "tracebacks", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    try:
        theirs = transformers_logits(folder, tokens)
    except Exception as error:
        return "folders_silently_different", f"transformers refuses it ({' '.join(str(error).split())[:200]})"
    if ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5, equal_nan=True):
        return "equal", ""
    return "folders_silently_different", f"by {float((ours - theirs).abs().max()):.3g}"


def _check_alike(folder: Path) -> None:
    """What training refuses, evaluation refuses too, but for models that this project does not compute."""
    try:
        find_initial_weights(str(folder))
    except UnsupportedModelError:
        raise
    except UserError as error:
        try:
            check_model_folder(folder)
        except UserError:
            raise error from None
        raise AssertionError(f"evaluation takes what training refuses: {error}") from None


def _read(folder: Path, context: ParallelContext, tokens: torch.Tensor) -> torch.Tensor:
    """Logits as this project computes them, float32 [1, S, V]."""
    shape = read_architecture(folder)
    check_parallel_sizes(shape, context.config, _TOKENS)
    compute = ModelConfig(hf_config=str(folder), backend=Backend.torch, precision=Precision.fp32)
    model = build_model(shape, compute, context, seed=None)
    find_initial_weights(str(folder)).fill(model)
    for chunk in model.chunks:
        chunk.eval()
    capture = _Logits(model.row_placer)
    evaluate_step(model.chunks, capture, [whole_rows([tokens.numpy()])])
    return capture.found[..., : shape.vocab_size].float()


@dataclass
class _Logits:
    """A forward pass that keeps what comes out."""

    row_placer: RowPlacer
    found: torch.Tensor = field(init=False)

    def forward_step(self, batches: Iterator[Rows], chunk: torch.nn.Module) -> tuple[torch.Tensor, LossFunction]:
        """Logits [1, S, V] with the padding of the vocabulary."""
        rows = next(batches)
        output = chunk(rows.batch.tokens, rows.batch.position_ids, None, packed_seq_params=rows.layout)
        return output, self._keep

    def _keep(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Report]:
        self.found = logits
        return logits.new_zeros(()), torch.ones((), dtype=torch.int32), {"loss": torch.ones(2)}


def transformers_logits(folder: Path, tokens: torch.Tensor) -> torch.Tensor:
    """The oracle: float32 [1, S, V]."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    with torch.no_grad():
        return model.eval()(tokens[None, :-1]).logits


@contextmanager
def _limit() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError(f"more than {_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _be_quiet() -> None:
    torch.set_num_threads(1)
    logging.getLogger("megatron_redone").setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")


if __name__ == "__main__":
    sys.exit(main())
