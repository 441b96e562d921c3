"""The measurements of gpu.py."""

import contextlib
import dataclasses
import gc
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.tensor_parallel import layers

from megatron_redone.architectures import parse_architecture
from megatron_redone.batches.micro_batch import MicroBatch, PairColumns
from megatron_redone.config.loader import load_config
from megatron_redone.config.model import ModelConfig
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.config.preference import PreferenceLossConfig
from megatron_redone.distributed import cpu_platform, start_context
from megatron_redone.distributed.device import peak_memory_gb
from megatron_redone.errors import UserError
from megatron_redone.metrics.device_peaks import Arithmetic, peak_flops
from megatron_redone.metrics.flops import parameter_count, training_flops_per_token
from megatron_redone.models import build
from megatron_redone.models.build import build_model
from megatron_redone.models.memory_estimate import Load, estimate_memory
from megatron_redone.models.set_weight import set_weight
from megatron_redone.models.wrapping import wrap_data_parallel
from megatron_redone.objectives import Objective
from megatron_redone.objectives.language_modelling import LanguageModelling
from megatron_redone.objectives.preference import PreferenceObjective
from megatron_redone.training.optimizer import build_optimizer, set_learning_rate
from megatron_redone.training.train_step import train_step
from tools.benchmarks.gpu import HEAD_DIM, QWEN, SIZES

WARM_UP, LR = 2, 1e-4
Step = Callable[[Sequence[MicroBatch]], float]


def run_job(keys: dict[str, Any]) -> dict[str, Any]:
    """One measurement; see gpu.py for the keys.

    Raises:
        UserError: this machine cannot do it.
    """
    torch.manual_seed(0)
    if keys["kind"] != "train" and keys["device"] == "cuda":
        keys["rows"] = rows_of_card(keys["rows"])
    _refuse_what_does_not_fit(keys)
    return {"train": train, "speed": measure, "profile": profile}[keys["kind"]](keys)


def free_memory() -> None:
    """Gives back what a measurement held, and counts the peak of memory anew."""
    gc.collect()
    if importlib.util.find_spec("transformer_engine") is not None:
        from transformer_engine.pytorch.fp8 import FP8GlobalStateManager  # type: ignore[import-not-found]

        FP8GlobalStateManager.reset()  # it holds the scales of models that are gone
    torch._dynamo.reset()  # or the next shape is compiled anew as one of any size, which is slower
    if torch.cuda.is_available() and not cpu_platform.installed():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def rows_of_card(rows: int) -> int:
    """Rows of a micro-batch: those of gpu.py are for an H200, half of them for a card with less memory."""
    return rows if torch.cuda.get_device_properties(0).total_memory > 100e9 else max(rows // 2, 1)


def _refuse_what_does_not_fit(keys: dict[str, Any]) -> None:
    """Saves the time of building what cannot hold its weights, gradients and optimizer state."""
    if keys["device"] != "cuda" or keys.get("optimizer", {}).get("optimizer_offload_fraction"):
        return
    needed = needed_memory(keys)
    present = torch.cuda.get_device_properties(0).total_memory
    if needed > present:
        raise UserError(
            f"weights, optimizer and activations, {needed / 1e9:.0f} GB, do not fit the device's {present / 1e9:.0f} GB"
        )


def needed_memory(keys: dict[str, Any]) -> float:
    """Bytes that a measurement needs, with 3 GB of context, buffers and holes."""
    shape, load = parse_architecture(shape_keys(keys)), Load(gpus=1, rows=keys["rows"], length=keys["length"])
    if keys["backend"] == "transformers":
        # Weights, gradients and both moments in two bytes; activations as ours, logits in fp32 too.
        ours = estimate_memory(shape, ModelConfig(), ParallelConfig(), OptimizerConfig(), load)
        return 8 * parameter_count(shape) + ours.activations + 10 * load.rows * load.length * shape.vocab_size + 3e9
    optimizer = load_config(
        OptimizerConfig, None, [f"{key}={value}" for key, value in keys.get("optimizer", {}).items()]
    )
    return estimate_memory(shape, compute(keys), ParallelConfig(), optimizer, load).total + 3e9


def shape_keys(keys: dict[str, Any]) -> dict[str, Any]:
    """Hugging Face's configuration of a shape."""
    hidden, layers, heads, kv_heads, inner, vocabulary, tied, _ = SIZES[keys["shape"]]
    return {
        **QWEN,
        "hidden_size": hidden,
        "num_hidden_layers": keys.get("layers", layers),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        **({"head_dim": HEAD_DIM[keys["shape"]]} if keys["shape"] in HEAD_DIM else {}),
    }


def whole_model(keys: dict[str, Any], seconds: dict[int, float]) -> dict[str, float]:
    """Passes of one micro-batch over all layers, by the line through two depths.

    Args:
        keys: The shape, and rows and length of the micro-batch.
        seconds: By the number of layers, of which there are two.
    """
    (few, less), (many, more) = sorted(seconds.items())
    a_layer = (more - less) / (many - few)
    layers = SIZES[keys["shape"]][1]
    whole = less + (layers - few) * a_layer
    tokens = keys["rows"] * keys["length"]
    flops = tokens * training_flops_per_token(parse_architecture(shape_keys(keys)), keys["length"]) / whole
    peak = peak_flops(torch.cuda.get_device_name(), Arithmetic.bf16) if torch.cuda.is_available() else None
    found = {"whole_seconds": whole, "whole_seconds_a_layer": a_layer, "whole_tflops": flops / 1e12}
    return {**found, "whole_mfu": flops / peak} if peak else found


def train(keys: dict[str, Any]) -> dict[str, Any]:
    """Losses of every step, on text."""
    step = our_step(keys)
    return {"losses": [step([batch]) for batch in text_batches(keys)]}


def measure(keys: dict[str, Any]) -> dict[str, Any]:
    """Speed, operations, utilisation and memory."""
    step = transformers_step(keys) if keys["backend"] == "transformers" else our_step(keys)
    batch = {"sft": sft_row, "dpo": dpo_row}.get(keys.get("task", ""), random_rows)(keys)
    device, count = torch.device(keys["device"]), keys.get("micro_batches", 1)
    for _ in range(WARM_UP):
        step([batch] * count)
    seconds = _timed(step, [batch] * count, keys["steps"])
    figures = _figures(keys, batch.tokens.numel() * count, seconds, device)
    if count == 1:
        return figures
    # A step of one micro-batch has the same update: what is left of the difference is the passes'.
    step([batch])
    alone = statistics.median(_timed(step, [batch], keys["steps"]))
    passes = (figures["seconds_per_step"] - alone) / (count - 1)
    return {**figures, "seconds_per_micro_batch": passes, "seconds_of_update": alone - passes}


def _timed(step: Step, batches: Sequence[MicroBatch], steps: int) -> list[float]:
    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        step(batches)  # gives the loss as a number, so that the device has finished
        seconds.append(time.perf_counter() - begin)
    return seconds


def _figures(keys: dict[str, Any], tokens: int, seconds: list[float], device: torch.device) -> dict[str, Any]:
    median = statistics.median(seconds)
    speed = tokens / median
    flops = speed * training_flops_per_token(parse_architecture(shape_keys(keys)), keys["length"])
    figures = {
        "tokens_per_second": speed,
        "rows": keys["rows"],
        "tflops": flops / 1e12,
        "memory_gb": peak_memory_gb(device),
        "seconds_per_step": median,
        "spread": (max(seconds) - min(seconds)) / median,
    }
    peak = peak_flops(torch.cuda.get_device_name(), Arithmetic.bf16) if device.type == "cuda" else None
    return {**figures, "mfu": flops / peak} if peak else figures


def profile(keys: dict[str, Any]) -> dict[str, Any]:
    """The costliest kernels, and the share of the time in which none ran."""
    from torch.profiler import ProfilerActivity, schedule

    step, batch, on_cuda = our_step(keys), random_rows(keys), keys["device"] == "cuda"
    for _ in range(WARM_UP):
        step([batch])
    # The device's activities alone: recording those of the host would slow it down. The first step within is left out,
    # as the recording starts in it.
    activity = ProfilerActivity.CUDA if on_cuda else ProfilerActivity.CPU
    plan = schedule(wait=0, warmup=1, active=keys["steps"], repeat=1)
    with torch.profiler.profile(activities=[activity], schedule=plan) as profiler:
        for _ in range(keys["steps"] + 1):
            step([batch])
            profiler.step()
    kind = "CUDA" if on_cuda else "CPU"
    events = [event for event in profiler.events() or [] if event.device_type.name == kind]
    spans = [(event.time_range.start, event.time_range.end, event.name) for event in events]
    spans = [span for span in spans if not span[2].startswith("ProfilerStep")]
    return {"idle_share": idle_share([(begin, end) for begin, end, _ in spans]), "kernels": costliest(spans)}


def idle_share(spans: Sequence[tuple[float, float]]) -> float:
    """The share of the time from the first to the last in which none of the spans lies; they may overlap."""
    ordered = sorted(spans)
    begin, reached, busy = ordered[0][0], ordered[0][0], 0.0
    for first, last in ordered:
        busy += max(last - max(first, reached), 0.0)
        reached = max(reached, last)
    return 1 - busy / (reached - begin)


def costliest(spans: Sequence[tuple[float, float, str]]) -> list[dict[str, Any]]:
    """The ten names that take the most time, each with its share of all."""
    times: dict[str, float] = {}
    for begin, end, name in spans:
        times[name] = times.get(name, 0.0) + end - begin
    total, ordered = sum(times.values()), sorted(times.items(), key=lambda item: -item[1])
    return [{"name": name[:80], "share": time_of / total} for name, time_of in ordered[:10]]


def our_step(keys: dict[str, Any]) -> Step:
    """This project's training step, in a run of one process.

    Weights are random, and depend on the seed alone but where only the time counts: drawing those takes longer.
    """
    fast = keys["kind"] != "train"
    context = start_context(ParallelConfig(), Device(keys["device"]))
    with_fusion = _fusion_of_gradients(not keys.get("unfused_gradients", False))
    with with_fusion:
        model = build_model(parse_architecture(shape_keys(keys)), compute(keys), context, seed=None if fast else 1234)
    if fast:
        draw_on_device(model.chunks)
    chunks = wrap_data_parallel(model)
    words = [f"{key}={value}" for key, value in {"lr": LR, **keys.get("optimizer", {})}.items()]
    optimizer = build_optimizer(chunks, load_config(OptimizerConfig, None, words))
    set_learning_rate(optimizer, LR)
    objective: Objective = LanguageModelling(model.row_placer)
    if keys.get("task") == "dpo":
        objective = PreferenceObjective(PreferenceLossConfig(), model.row_placer)
    return lambda batches: train_step(chunks, optimizer, objective, batches).loss


@contextlib.contextmanager
def _fusion_of_gradients(wanted: bool) -> Iterator[None]:
    """Without it, models are built as where neither Apex nor Transformer Engine can add gradients up."""
    with contextlib.ExitStack() as stack:
        if not wanted:
            stack.enter_context(mock.patch.object(build, "provide_weight_gradients", lambda _: "none"))
            stack.enter_context(mock.patch.object(layers, "_grad_accum_fusion_available", False))
        yield


def compute(keys: dict[str, Any]) -> ModelConfig:
    """How the model is computed, from keys in words, as on a command line."""
    fp8 = {"recipe": keys["recipe"]} if "recipe" in keys else {}
    section = {"backend": keys["backend"], "precision": keys["precision"], **keys.get("model", {})}
    section |= {f"fp8.{key}": value for key, value in (fp8 | keys.get("fp8", {})).items()}
    return load_config(ModelConfig, None, [f"{key}={value}" for key, value in section.items()])


@torch.no_grad()
def draw_on_device(chunks: list[GPTModel]) -> None:
    """Matrices of normal numbers, norms of one, biases of zero."""
    for chunk in chunks:
        for name, parameter in chunk.named_parameters():
            values = torch.empty(parameter.shape, dtype=torch.bfloat16, device=parameter.device)
            if parameter.dim() > 1:
                values.normal_(0.0, QWEN["initializer_range"])
            else:
                values.fill_(0.0 if name.endswith("bias") else 1.0)
            set_weight(parameter, values)


def transformers_step(keys: dict[str, Any]) -> Step:
    """What a careful user of transformers would write: sdpa, bf16, fused AdamW."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**shape_keys(keys))
    device, dtype = torch.device(keys["device"]), torch.bfloat16
    with device:
        model: Any = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=dtype).train()
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def step(batches: Sequence[MicroBatch]) -> float:
        optimizer.zero_grad()
        loss = torch.zeros(())
        for batch in batches:
            on_device = batch.to(device)
            loss = model(input_ids=on_device.tokens, labels=on_device.labels, shift_labels=on_device.labels).loss
            (loss / len(batches)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss)

    return step


def random_rows(keys: dict[str, Any]) -> MicroBatch:
    """Rows of random tokens."""
    return _rows(torch.randint(0, shape_keys(keys)["vocab_size"], (keys["rows"], keys["length"] + 1)))


def sft_row(keys: dict[str, Any]) -> MicroBatch:
    """A row of eight conversations kept apart; half of each is the assistant's."""
    return _packed(keys, 8)


def dpo_row(keys: dict[str, Any]) -> MicroBatch:
    """A row of four pairs of responses, eight segments whose second halves are the responses."""
    row = _packed(keys, 8)
    owners = torch.arange(8).repeat_interleave(keys["length"] // 8)[None]
    pairs = PairColumns(
        numbers=torch.arange(4),
        responses=owners,
        lengths=torch.full((8,), keys["length"] // 16),
        prefixes=torch.zeros(8, 2, dtype=torch.int32),
        reference=torch.full((4, 2), -10.0),
        rewards=torch.zeros(4, 2),
    )
    return dataclasses.replace(row, pairs=pairs)


def _packed(keys: dict[str, Any], segments: int) -> MicroBatch:
    part = keys["length"] // segments
    row = random_rows({**keys, "rows": 1})
    positions = torch.arange(part).repeat(segments)[None]
    return dataclasses.replace(
        row,
        position_ids=positions,
        loss_mask=(positions >= part // 2).float(),
        cu_seqlens=torch.arange(0, segments * part + 1, part, dtype=torch.int32),
    )


def text_batches(keys: dict[str, Any]) -> Iterator[MicroBatch]:
    """Rows of real text, or of generated text that can be learnt where there is none."""
    size = keys["rows"] * keys["length"]
    stream = _text(keys, keys["steps"] * size + 1)
    for step in range(keys["steps"]):
        part = stream[step * size : (step + 1) * size + 1]
        yield _rows(torch.cat([part[:-1].view(keys["rows"], -1), part[1:].view(keys["rows"], -1)[:, -1:]], 1))


def _text(keys: dict[str, Any], count: int) -> torch.Tensor:
    vocabulary = shape_keys(keys)["vocab_size"]
    if keys["data"] is None or vocabulary < 100_000:
        # Each token follows from the one before, but for one in four.
        generator = torch.Generator().manual_seed(1)
        noise = torch.randint(0, min(vocabulary, 1000), (count,), generator=generator)
        follows = torch.rand(count, generator=generator) > 0.25
        ids = [0]
        for random, predictable in zip(noise.tolist(), follows.tolist(), strict=True):
            ids.append((ids[-1] * 7 + 3) % min(vocabulary, 1000) if predictable else random)
        return torch.tensor(ids[:count])
    from tokenizers import Tokenizer

    from tools.benchmarks import real_text

    tokenizer, ids = Tokenizer.from_file(f"{keys['data']}/tokenizer/tokenizer.json"), []
    for text in real_text.documents(Path(keys["data"]), ["general"]):
        ids += tokenizer.encode(text[:4000] + "\n").ids
        if len(ids) >= count:
            return torch.tensor(ids[:count])
    raise SystemExit(f"{keys['data']}: the text is too short")


def _rows(text: torch.Tensor) -> MicroBatch:
    rows, length = text.shape[0], text.shape[1] - 1
    return MicroBatch(
        tokens=text[:, :-1].contiguous(),
        labels=text[:, 1:].contiguous(),
        loss_mask=torch.ones(rows, length),
        position_ids=torch.arange(length).repeat(rows, 1),
    )
