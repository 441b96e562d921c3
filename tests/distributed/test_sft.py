"""Packed fine-tuning equals conversations one by one, on every layout; the stage runs, resumes and keeps its best."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from megatron_redone.config.data import BlendSource
from megatron_redone.config.parallel import ContextExchange, ParallelConfig
from megatron_redone.config.sft_data import SftDataConfig
from megatron_redone.datasets.batch_reader import BatchReader
from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.packed_rows import open_packed_blend, packed_collate
from tests.helpers import hf_models
from tests.helpers.masked_data import Sequence, random_conversations, weighted, write_conversations
from tests.helpers.pretrain_runs import VOCAB, command_line, figures, pretrain, write_inputs
from tests.helpers.ranks import run_on_ranks
from tests.helpers.runs import Run, logits, packed_gradients

pytestmark = pytest.mark.distributed

LENGTH = 64
# From two tokens to a whole row: four rows of 64, not all of them full.
LENGTHS = [65, 40, 3, 2, 17, 30, 21, 5, 9, 33, 20]
LAYOUTS = {
    "one": (1, {}),
    "tp2": (2, {"tensor_model_parallel_size": 2}),
    "tp2_sp": (2, {"tensor_model_parallel_size": 2, "sequence_parallel": True}),
    "pp2": (2, {"pipeline_model_parallel_size": 2}),
    "cp2": (2, {"context_parallel_size": 2}),
    "cp2_heads": (2, {"context_parallel_size": 2, "context_parallel_exchange": ContextExchange.heads}),
    "dp2": (2, {}),
    "tp2_dp2": (4, {"tensor_model_parallel_size": 2}),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[SftDataConfig, list[Sequence]]:
    return packed_data(tmp_path_factory.mktemp("sft"), random_conversations(LENGTHS, 500, seed=7))


def packed_data(folder: Path, conversations: list[Sequence]) -> tuple[SftDataConfig, list[Sequence]]:
    prefix = write_conversations(folder / "chat", conversations, 500)
    config = SftDataConfig(blend=[BlendSource(path=str(prefix))], seq_length=LENGTH)
    assert open_packed_blend(config).samples_per_epoch == 4
    return config, conversations


@pytest.fixture(scope="module")
def oracle(data: tuple[SftDataConfig, list[Sequence]]) -> tuple[float, dict[str, torch.Tensor]]:
    return loss_and_gradients(data[1])


def loss_and_gradients(conversations: list[Sequence]) -> tuple[float, dict[str, torch.Tensor]]:
    """transformers' loss per learned token and its gradients, every conversation by itself and without padding.

    A token's weight scales its loss; the sum is divided by the number of tokens whose weight is not 0.
    """
    model = hf_models.hf_model("qwen2_tied")
    total, count = torch.zeros(()), 0
    for ids, mask in conversations:
        tokens = torch.from_numpy(ids.astype(np.int64))
        learned = torch.from_numpy(mask[1:].astype(np.float32))
        scores = model(tokens[None, :-1]).logits[0]
        losses = torch.nn.functional.cross_entropy(scores, tokens[1:], reduction="none")
        total, count = total + (losses * learned).sum(), count + int((learned > 0).sum())
    (total / count).backward()
    return float(total.detach() / count), hf_models.full_gradients(model, hf_models.architecture("qwen2_tied"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_packed_gradients_equal_conversations_one_by_one(
    layout: str, data: tuple[SftDataConfig, list[Sequence]], oracle: tuple[float, dict[str, torch.Tensor]]
) -> None:
    check_layout(layout, data[0], oracle)


@pytest.mark.parametrize("layout", ["one", "tp2_sp", "pp2", "cp2", "dp2"])
def test_loss_weights_scale_the_same_tokens_on_every_layout(layout: str, tmp_path: Path) -> None:
    config, conversations = packed_data(tmp_path, weighted(random_conversations(LENGTHS, 500, seed=7)))
    assert open_packed_blend(config).streams[0].is_weighted
    check_layout(layout, config, loss_and_gradients(conversations))


def check_layout(layout: str, data: SftDataConfig, oracle: tuple[float, dict[str, torch.Tensor]]) -> None:
    world_size, parallel = LAYOUTS[layout]
    run = Run(model="qwen2_tied", parallel={**parallel, "use_distributed_optimizer": False})
    expected_loss, expected = oracle
    seen: set[str] = set()
    for loss, found in run_on_ranks(world_size, packed_gradients, run, data, 4):
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        for part in found:
            full = part.part_of(expected[part.name])
            assert (part.gradient - full).norm() < 1e-5 * expected[part.name].norm(), part.name
            seen.add(part.name)
    assert seen == set(expected)


@pytest.mark.parametrize("layout", ["one", "tp2_sp", "pp2", "cp2"])
def test_a_changed_token_changes_no_logit_of_another_conversation(
    layout: str, data: tuple[SftDataConfig, list[Sequence]]
) -> None:
    world_size, parallel = LAYOUTS[layout]
    blend = open_packed_blend(data[0])
    reader = BatchReader(blend, BatchSlice(global_batch_size=1, micro_batch_size=1), packed_collate(ParallelConfig()))
    batch = next(row for number in range(3) for row in reader.read(number).micro_batches if len(row.cu_seqlens) > 4)
    begin, end = batch.cu_seqlens[1:3].tolist()
    changed = dataclasses.replace(batch, tokens=batch.tokens.clone())
    changed.tokens[0, begin] = (changed.tokens[0, begin] + 1) % 500
    run = Run(model="qwen2_tied", parallel=parallel)
    later = 0
    for result in run_on_ranks(world_size, logits, run, [batch, changed]):
        if not result:
            continue
        (before, positions), (after, _) = result
        differs = (before != after).any(-1)[0]
        outside = (positions < begin) | (positions >= end)
        assert not differs[outside].any()
        later += int(differs[~outside].sum())
    assert later == (2 if layout == "tp2_sp" else 1) * (end - begin)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A pretrained model and two sources of conversations, and the keys that name them."""
    folder = tmp_path_factory.mktemp("recipe")
    base = run_on_ranks(1, pretrain, [*write_inputs(folder), f"output_dir={folder}/base", "training.train_steps=2"])
    assert base[0][0] == 0, base[0][1]
    for name, seed in {"general": 1, "social": 2, "held_out": 3}.items():
        lengths = np.random.default_rng(seed).integers(2, 33, 90).tolist()
        write_conversations(folder / name, random_conversations(lengths, VOCAB, seed), VOCAB)
    return folder, [
        *("device=cpu", "model.precision=fp32", "data.seq_length=32"),
        f"data.validation=[{{path: {folder}/held_out}}]",
        *("training.global_batch_size=8", "training.micro_batch_size=2", "optimizer.lr=3e-3"),
    ]


def blend(folder: Path, general: float, social: float) -> str:
    return f"data.blend=[{{path: {folder}/general, weight: {general}}}, {{path: {folder}/social, weight: {social}}}]"


def sft(world_size: int, keys: list[str]) -> str:
    answers = run_on_ranks(world_size, command_line, ["sft", *keys], timeout=60)
    assert {code for code, _ in answers} == {0}, answers[0][1]
    return answers[0][1]


def test_two_steps_with_the_best_kept_and_the_second_resumed_on_another_layout(
    recipe: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, keys = recipe
    first = [*keys, blend(folder, 1, 1), f"init_from={folder}/base/checkpoints/step-00000002"]
    said = sft(1, [*first, f"output_dir={tmp_path}/step1", "training.train_epochs=1",
                   "training.validate_every=1", "checkpoint.save_every=100", "checkpoint.keep_last=1",
                   "checkpoint.best_metric=validation/held_out/loss", "optimizer.lr=0.5"])  # fmt: skip
    assert "conversations in" in said and "% full" in said and "best so far: step" in said
    losses = figures(tmp_path / "step1", "validation/held_out/loss")
    best = json.loads((tmp_path / "step1" / "checkpoints" / "best.json").read_text())
    last = max(losses)
    assert best["validation/held_out/loss"] == min(value for step, value in losses.items() if step > 0)
    steps = {best["step"], last}
    assert {path.name for path in (tmp_path / "step1" / "checkpoints").glob("step-*")} == {
        f"step-{step:08d}" for step in steps
    }
    second = [*keys, blend(folder, 1, 3), f"init_from={tmp_path}/step1/best",
              "training.train_steps=6", "checkpoint.save_every=3", "checkpoint.keep_last=null"]  # fmt: skip
    sft(2, [*second, f"output_dir={tmp_path}/whole", "parallel.tensor_model_parallel_size=2"])
    resumed = tmp_path / "resumed"
    sft(2, [*second, f"output_dir={resumed}", "parallel.tensor_model_parallel_size=2", "training.train_steps=6"])
    shutil.rmtree(resumed / "checkpoints" / "step-00000006")
    assert "step-00000003" in sft(4, [*second, f"output_dir={resumed}", "parallel.pipeline_model_parallel_size=2"])
    whole, again = figures(tmp_path / "whole"), figures(resumed)
    assert list(again) == [1, 2, 3, 4, 5, 6]
    assert [again[step] for step in (4, 5, 6)] == pytest.approx([whole[step] for step in (4, 5, 6)], rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("checkpoint.best_metric=validation/elsewhere/loss", "is not validated; such metrics are validation/held_out"),
        ("data.blend=[{path: nowhere}]", "nowhere"),
        ("data.too_long=refuse", "too_long"),
        ("training.train_tokens=5", "give one of train_steps, train_tokens, train_epochs"),
    ],
)
def test_mistakes(recipe: tuple[Path, list[str]], tmp_path: Path, change: str, message: str) -> None:
    folder, keys = recipe
    more = ["data.seq_length=16"] if "too_long" in change else []
    run = [*keys, blend(folder, 1, 1), f"init_from={folder}/base/checkpoints/step-00000002", f"output_dir={tmp_path}",
           "training.train_steps=1", *more, change]  # fmt: skip
    answers = run_on_ranks(2, command_line, ["sft", *run], timeout=60)
    assert [code for code, _ in answers] == [2, 2]
    assert message in answers[0][1] and answers[0][1].count("\n") <= 3, answers[0][1]
