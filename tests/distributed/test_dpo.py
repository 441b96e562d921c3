"""Preference optimisation: log-probabilities, losses and gradients on every layout, packed, unpacked and shared."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from megatron_redone.config.parallel import ContextExchange
from megatron_redone.config.preference import PreferenceLoss, PreferenceLossConfig
from megatron_redone.formats.reference_scores import ReferenceScores, read_reference, write_reference
from tests.helpers import hf_models
from tests.helpers.masked_data import Sequence, random_pairs, write_pairs
from tests.helpers.pretrain_runs import VOCAB, command_line, figures, pretrain, write_inputs
from tests.helpers.ranks import run_on_ranks
from tests.helpers.runs import Run, preference_gradients, reference_scores

pytestmark = pytest.mark.distributed

PAIRS = random_pairs(9, 500, seed=11)
LONGEST = max(sum(len(ids) - 1 for ids, _ in pair) for pair in PAIRS)
PACKED, UNPACKED = 4 * LONGEST - 4 * LONGEST % 8, LONGEST + 8 - LONGEST % 8
LAYOUTS = {
    "one": (1, {}),
    "tp2": (2, {"tensor_model_parallel_size": 2}),
    "tp2_sp": (2, {"tensor_model_parallel_size": 2, "sequence_parallel": True}),
    "pp2": (2, {"pipeline_model_parallel_size": 2}),
    "cp2": (2, {"context_parallel_size": 2}),
    "cp2_heads": (2, {"context_parallel_size": 2, "context_parallel_exchange": ContextExchange.heads}),
    "dp2": (2, {}),
}
DPO = PreferenceLossConfig(beta=0.3)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_pairs(tmp_path_factory.mktemp("pairs") / "pairs", PAIRS, 500))


def log_probability(model: torch.nn.Module, sequence: Sequence) -> torch.Tensor:
    """transformers' sum of the log-probabilities of a response's tokens, from whole logits."""
    ids = torch.from_numpy(sequence[0].astype(np.int64))
    learned = torch.from_numpy(sequence[1][1:].astype(np.float32))
    scores = model(ids[None, :-1]).logits[0].log_softmax(-1)
    return (scores.gather(-1, ids[1:, None])[:, 0] * learned).sum()


@pytest.fixture(scope="module")
def sums() -> torch.Tensor:
    """[pairs, 2]"""
    model = hf_models.hf_model("qwen2_tied")
    with torch.no_grad():
        return torch.stack([torch.stack([log_probability(model, side) for side in pair]) for pair in PAIRS])


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_log_probabilities_equal_those_from_whole_logits(
    layout: str, share: bool, prefix: str, sums: torch.Tensor
) -> None:
    world_size, parallel = LAYOUTS[layout]
    for found, lengths in run_on_ranks(
        world_size, reference_scores, Run(model="qwen2_tied", parallel=parallel), prefix, PACKED, share
    ):
        torch.testing.assert_close(found, sums, rtol=1e-6, atol=1e-6)
        assert lengths.tolist() == [[int(mask.sum()) for _, mask in pair] for pair in PAIRS]


@pytest.fixture(scope="module")
def reference(sums: torch.Tensor) -> ReferenceScores:
    """Scores of a reference that is not the policy."""
    noise = torch.randn(sums.shape, generator=torch.Generator().manual_seed(0))
    lengths = np.array([[mask.sum() for _, mask in pair] for pair in PAIRS], np.int32)
    return ReferenceScores(data="", model="", done=len(PAIRS), sums=(sums + noise).numpy(), lengths=lengths)


@pytest.fixture(scope="module")
def oracle(reference: ReferenceScores) -> tuple[float, dict[str, torch.Tensor]]:
    """DPO's loss over all pairs and its gradients with transformers, one sequence at a time."""
    model = hf_models.hf_model("qwen2_tied")
    losses = []
    for pair, scores in zip(PAIRS, torch.from_numpy(reference.sums), strict=True):
        chosen, rejected = (log_probability(model, side) for side in pair)
        losses.append(-torch.nn.functional.logsigmoid(DPO.beta * (chosen - rejected - (scores[0] - scores[1]))))
    loss = torch.stack(losses).mean()
    loss.backward()
    return float(loss.detach()), hf_models.full_gradients(model, hf_models.architecture("qwen2_tied"))


@pytest.mark.parametrize(("length", "share"), [(PACKED, False), (UNPACKED, False), (PACKED, True)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_step_is_the_same_on_every_layout_packed_unpacked_and_with_shared_prompts(
    layout: str,
    length: int,
    share: bool,
    prefix: str,
    reference: ReferenceScores,
    oracle: tuple[float, dict[str, torch.Tensor]],
) -> None:
    world_size, parallel = LAYOUTS[layout]
    run = Run(model="qwen2_tied", parallel={**parallel, "use_distributed_optimizer": False})
    expected_loss, expected = oracle
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in expected.values()))
    seen: set[str] = set()
    for metrics, found in run_on_ranks(world_size, preference_gradients, run, prefix, DPO, length, share, reference):
        assert metrics["loss"] == pytest.approx(expected_loss, rel=1e-5)
        assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-5)
        for part in found:
            full = part.part_of(expected[part.name])
            assert (part.gradient - full).norm() < 1e-5 * expected[part.name].norm(), part.name
            seen.add(part.name)
    assert seen == set(expected)


@pytest.mark.parametrize("share", [False, True])
def test_a_policy_that_is_its_reference(
    share: bool, prefix: str, sums: torch.Tensor, reference: ReferenceScores
) -> None:
    same = ReferenceScores(data="", model="", done=len(PAIRS), sums=sums.numpy(), lengths=reference.lengths)
    [(metrics, _)] = run_on_ranks(1, preference_gradients, Run(model="qwen2_tied"), prefix, DPO, PACKED, share, same)
    assert metrics["loss"] == pytest.approx(math.log(2), abs=1e-5)
    for name in ("reward_chosen", "reward_rejected", "margin", "kl_estimate"):
        assert abs(metrics[name]) < 1e-4
    assert metrics["log_prob_chosen"] == pytest.approx(float(sums[:, 0].mean()), rel=1e-5)


@pytest.mark.parametrize("loss", PreferenceLoss)
def test_every_loss_is_a_mean_over_pairs_on_any_layout(
    loss: PreferenceLoss, tmp_path: Path, sums: torch.Tensor, reference: ReferenceScores
) -> None:
    rewards = np.random.default_rng(3).normal(size=(len(PAIRS), 2)).astype(np.float32)
    prefix = str(write_pairs(tmp_path / "rewarded", PAIRS, 500, rewards))
    config = PreferenceLossConfig(loss=loss, sft_loss_weight=0.5)
    run = Run(model="qwen2_tied", parallel={"use_distributed_optimizer": False})
    [(alone, _)] = run_on_ranks(1, preference_gradients, run, prefix, config, PACKED, False, reference)
    other = Run(model="qwen2_tied", parallel={"tensor_model_parallel_size": 2})
    for metrics, _ in run_on_ranks(4, preference_gradients, other, prefix, config, UNPACKED, True, reference):
        assert metrics == pytest.approx(alone, rel=1e-4, abs=1e-5)
    expected = float(sums[:, 0].mean())
    if config.mean_log_probs:
        expected = float((sums[:, 0] / torch.from_numpy(reference.lengths[:, 0])).mean())
    assert alone["sft_loss"] == pytest.approx(-expected, rel=1e-5)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], list[str]]:
    """A model, pairs to train and to validate on, and the keys of score-reference and of dpo."""
    folder = tmp_path_factory.mktemp("recipe")
    base = run_on_ranks(1, pretrain, [*write_inputs(folder), f"output_dir={folder}/base", "training.train_steps=2",
                                      "checkpoint.save_every=1"])  # fmt: skip
    assert base[0][0] == 0, base[0][1]
    for name, seed in {"train": 1, "held_out": 2}.items():
        write_pairs(folder / name, random_pairs(24, VOCAB, seed), VOCAB)
    policy = f"init_from={folder}/base/checkpoints/step-00000002"
    common = ["device=cpu", "model.precision=fp32", policy]
    score = [*common, f"data=[{{path: {folder}/train}}, {{path: {folder}/held_out}}]", "batch_size=8", "save_every=8"]
    dpo = [*common, f"data.blend=[{{path: {folder}/train}}]", f"data.validation=[{{path: {folder}/held_out}}]",
           "data.seq_length=128", "training.global_batch_size=8", "optimizer.lr=3e-3"]  # fmt: skip
    return folder, score, dpo


def redone(world_size: int, arguments: list[str]) -> str:
    answers = run_on_ranks(world_size, command_line, arguments, timeout=60)
    assert {code for code, _ in answers} == {0}, answers[0][1]
    return answers[0][1]


def refused(world_size: int, arguments: list[str]) -> str:
    answers = run_on_ranks(world_size, command_line, arguments, timeout=60)
    assert {code for code, _ in answers} == {2}, answers
    return answers[0][1]


def test_score_and_optimise(recipe: tuple[Path, list[str], list[str]], tmp_path: Path) -> None:
    folder, score, dpo = recipe
    files = [folder / f"{name}.reference.safetensors" for name in ("train", "held_out")]
    assert "there are no reference scores" in refused(1, ["dpo", *dpo, f"output_dir={tmp_path}/none",
                                                          "training.train_steps=1"])  # fmt: skip
    redone(2, ["score-reference", *score, "parallel.tensor_model_parallel_size=2"])
    whole = read_reference(files[0])
    assert whole is not None and whole.is_complete
    # As a killed run leaves it.
    half = np.where(np.arange(24)[:, None] < 8, whole.sums, np.nan)
    write_reference(files[0], dataclasses.replace(whole, done=8, sums=half))
    assert "only 8 of 24 pairs" in refused(1, ["dpo", *dpo, f"output_dir={tmp_path}/none", "training.train_steps=1"])
    said = redone(2, ["score-reference", *score, "parallel.pipeline_model_parallel_size=2", "share_prompt=true"])
    assert "going on after 8 of 24" in said and "complete already" in said
    again = read_reference(files[0])
    assert again is not None and np.allclose(again.sums, whole.sums, rtol=1e-5)

    run = [*dpo, "training.train_steps=8", "training.validate_every=4", "checkpoint.save_every=4",
           "checkpoint.best_metric=validation/held_out/accuracy"]  # fmt: skip
    redone(1, ["dpo", *run, f"output_dir={tmp_path}/one"])
    redone(4, ["dpo", *run, f"output_dir={tmp_path}/four", "parallel.tensor_model_parallel_size=2",
               "data.share_prompt=true"])  # fmt: skip
    one, four = (figures(tmp_path / name) for name in ("one", "four"))
    assert one[1] == pytest.approx(math.log(2), abs=1e-4) and one[8] < 0.6
    assert [four[step] for step in range(1, 9)] == pytest.approx([one[step] for step in range(1, 9)], rel=1e-4)
    for name in ("margin", "accuracy", "kl_estimate", "log_prob_chosen", "loss"):
        assert set(figures(tmp_path / "one", f"validation/held_out/{name}")) == {0, 4, 8}
    assert figures(tmp_path / "one", "validation/held_out/perplexity") == {}, "of a loss that is not per token"


def test_a_dithered_policy_begins_as_its_reference(recipe: tuple[Path, list[str], list[str]], tmp_path: Path) -> None:
    """In bf16, where the main weights are not what the reference was: the loss is ln 2, and that of a plain run."""
    _, score, dpo = recipe
    in_bf16 = ["model.precision=bf16", "training.train_steps=1"]
    redone(1, ["score-reference", *score, in_bf16[0], f"output_dir={tmp_path}/scores"])
    said = redone(1, ["score-reference", *score, "model.precision=auto", f"output_dir={tmp_path}/auto"])
    assert "precision: auto takes" in said
    first = {}
    for dither in ("true", "false"):
        run = [*dpo, *in_bf16, f"reference_dir={tmp_path}/scores", f"output_dir={tmp_path}/{dither}"]
        redone(1, ["dpo", *run, f"optimizer.dither_main_weights={dither}"])
        first[dither] = [figures(tmp_path / dither, name)[1] for name in ("loss", "margin", "grad_norm")]
        first[dither].append(figures(tmp_path / dither, "validation/held_out/loss")[0])
    assert first["true"] == first["false"]
    assert first["true"][0] == pytest.approx(math.log(2), abs=2e-3)
    assert first["true"][3] == pytest.approx(math.log(2), abs=2e-3)


def test_scores_of_something_else_are_refused(recipe: tuple[Path, list[str], list[str]], tmp_path: Path) -> None:
    folder, score, dpo = recipe
    scored = [*score[:3], f"data=[{{path: {tmp_path}/other}}]"]
    run = [*dpo, f"data.blend=[{{path: {tmp_path}/other}}]", "data.validation=[]", f"output_dir={tmp_path}/run",
           "training.train_steps=1"]  # fmt: skip
    write_pairs(tmp_path / "other", random_pairs(8, VOCAB, 5), VOCAB)
    redone(1, ["score-reference", *scored])
    redone(1, ["dpo", *run])
    assert "needs the rewards" in refused(1, ["dpo", *run, "loss.loss=rpo_sq", f"output_dir={tmp_path}/rpo"])
    later = [*run, f"init_from={folder}/base/checkpoints/step-00000001", f"output_dir={tmp_path}/later"]
    assert "the scores are of another model" in refused(1, ["dpo", *later])
    redone(1, ["dpo", *later, f"reference={folder}/base/checkpoints/step-00000002"])
    path = tmp_path / "other.reference.safetensors"
    scores = read_reference(path)
    assert scores is not None
    scores.sums[3, 1] = np.nan
    write_reference(path, scores)
    assert "1 pairs have a score that is not a number" in refused(2, ["dpo", *run, f"output_dir={tmp_path}/nan"])
    write_pairs(tmp_path / "other", random_pairs(8, VOCAB, 6), VOCAB)
    assert "belong to other data" in refused(1, ["dpo", *run, f"output_dir={tmp_path}/data"])
    empty = [(good, (ids, np.zeros_like(mask))) for good, (ids, mask) in random_pairs(3, VOCAB, 7)]
    write_pairs(tmp_path / "other", empty, VOCAB)
    assert "pair 0 has an empty response" in refused(1, ["score-reference", *scored])
