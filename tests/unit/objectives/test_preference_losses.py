"""Every loss, its gradient and its rewards against TRL's trainers and NeMo-Aligner's own function."""

import math
from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from megatron_redone.config.preference import PreferenceLoss, PreferenceLossConfig
from megatron_redone.objectives.preference_losses import PairLosses, PairScores, pair_losses
from tests.helpers import nemo_aligner

PAIRS, TOKENS = 64, 5


def config(loss: str, **values: Any) -> PreferenceLossConfig:
    values.setdefault("sft_loss_weight", 1.0 if loss == "orpo" else 0.0)
    return PreferenceLossConfig(loss=PreferenceLoss[loss], **values)


class Responses:
    """Random log-probabilities of the tokens of PAIRS chosen and PAIRS rejected responses, of 1 to TOKENS tokens.

    They are multiples of 1/4096, so that sums of them are exact and the order of adding up makes no difference:
    NeMo-Aligner subtracts the reference from every token before it adds them up.
    """

    def __init__(self, seed: int = 0) -> None:
        random = torch.Generator().manual_seed(seed)
        rows = 2 * PAIRS
        self.mask = torch.arange(TOKENS) < torch.randint(1, TOKENS + 1, (rows, 1), generator=random)
        size = (rows, TOKENS)
        self.policy = (-torch.randint(1, 8 * 4096, size, generator=random) / 4096 * self.mask).requires_grad_()
        self.reference = -torch.randint(1, 8 * 4096, size, generator=random) / 4096 * self.mask
        self.rewards = torch.randn(rows, generator=random) * 2

    def reduced(self, values: torch.Tensor, mean: bool) -> tuple[torch.Tensor, torch.Tensor]:
        sums = values.sum(dim=1)
        chosen, rejected = (sums / self.mask.sum(dim=1) if mean else sums).chunk(2)
        return chosen, rejected

    def scores(self, mean: bool) -> PairScores:
        policy, reference = self.reduced(self.policy, mean), self.reduced(self.reference, mean)
        rewards = self.rewards.chunk(2)
        return PairScores(
            policy_chosen=policy[0],
            policy_rejected=policy[1],
            reference_chosen=reference[0],
            reference_rejected=reference[1],
            chosen_reward=rewards[0],
            rejected_reward=rewards[1],
        )

    def gradient(self, loss: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(loss, self.policy, retain_graph=True)[0] * self.mask


def ours(settings: PreferenceLossConfig, responses: Responses) -> PairLosses:
    return pair_losses(settings, responses.scores(settings.mean_log_probs))


def assert_same(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)


# TRL


def trl_dpo(name: str, settings: PreferenceLossConfig, responses: Responses, pairs: list[int]) -> Any:
    """TRL's mean loss over some pairs, by its DPOTrainer's own method, and the metrics that it notes."""
    trainer_class = pytest.importorskip("trl").DPOTrainer
    rows = torch.tensor(pairs + [PAIRS + pair for pair in pairs])
    outputs = SimpleNamespace(log_probs=responses.policy[rows])
    outputs.entropy = outputs.mean_logits = outputs.is_top1 = torch.zeros(len(rows), TOKENS)
    outputs.is_top1 = outputs.is_top1.bool()
    reference = SimpleNamespace(log_probs=responses.reference[rows])
    model = _Callable(outputs)
    everyone = SimpleNamespace(gather=lambda x: x, gather_for_metrics=lambda x: x, device=torch.device("cpu"))
    trainer = SimpleNamespace(
        model=model,
        ref_model=_Callable(reference),
        accelerator=everyone,
        args=SimpleNamespace(gradient_checkpointing_kwargs=None, gradient_checkpointing=False),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=False,
        f_divergence_type="reverse_kl",
        loss_types=[name],
        loss_weights=[1.0],
        beta=settings.beta,
        label_smoothing=settings.label_smoothing,
        use_weighting=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    # TRL shifts the mask by one: the first position is a prompt's.
    mask = torch.cat([torch.zeros(len(rows), 1), responses.mask[rows]], dim=1).long()
    inputs = {"input_ids": torch.ones_like(mask), "attention_mask": torch.ones_like(mask), "completion_mask": mask}
    loss = trainer_class._compute_loss(trainer, model, inputs, return_outputs=False)
    return loss, {name: values[-1] for name, values in trainer._metrics["train"].items()}


class _Callable(torch.nn.Module):
    """A model whose output is known."""

    def __init__(self, outputs: Any) -> None:
        super().__init__()
        self.outputs = outputs
        self.is_gradient_checkpointing = False

    def forward(self, **_: Any) -> Any:
        return self.outputs


@pytest.mark.parametrize("beta", [0.1, 1.3])
@pytest.mark.parametrize(("loss", "trl_name"), [("dpo", "sigmoid"), ("ipo", "ipo"), ("hinge", "hinge")])
def test_equal_to_trl_dpo_trainer(loss: str, trl_name: str, beta: float) -> None:
    settings, responses = config(loss, beta=beta), Responses()
    expected, metrics = trl_dpo(trl_name, settings, responses, list(range(PAIRS)))
    actual = ours(settings, responses)
    assert actual.total.shape == (PAIRS,) and actual.total.dtype == torch.float32
    assert_same(actual.total.mean(), expected)
    assert_same(responses.gradient(actual.total.mean()), responses.gradient(expected))
    for pair in range(4):
        assert_same(actual.total[pair], trl_dpo(trl_name, settings, responses, [pair])[0])
    if loss != "ipo":  # of which TRL notes rewards of sums, while its loss takes means
        assert_same(actual.chosen_reward.mean(), torch.tensor(metrics["rewards/chosen"]))
        assert_same(actual.rejected_reward.mean(), torch.tensor(metrics["rewards/rejected"]))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_label_smoothing_equals_trl(smoothing: float) -> None:
    """TRL's `aot` sorts the pairs of a batch and then is smoothed DPO; a single pair has nothing to sort."""
    settings, responses = config("dpo", label_smoothing=smoothing), Responses()
    actual = ours(settings, responses).total
    for pair in range(8):
        expected, _ = trl_dpo("aot", settings, responses, [pair])
        assert_same(actual[pair], expected)
        assert_same(responses.gradient(actual[pair]), responses.gradient(expected))


@pytest.mark.parametrize(("beta", "gamma", "smoothing"), [(0.1, 0.5, 0.0), (2.0, 1.6, 0.0), (2.5, 0.3, 0.2)])
def test_simpo_equals_trl(beta: float, gamma: float, smoothing: float) -> None:
    cpo = pytest.importorskip("trl.experimental.cpo")
    settings = config("simpo", beta=beta, simpo_gamma=gamma, label_smoothing=smoothing)
    responses = Responses()
    trainer = SimpleNamespace(
        alpha=0.0, loss_type="simpo", simpo_gamma=gamma, beta=beta, label_smoothing=smoothing, accelerator=_DEVICE
    )
    losses, chosen, rejected = cpo.CPOTrainer.cpo_loss(trainer, *responses.reduced(responses.policy, mean=True))
    actual = ours(settings, responses)
    assert_same(actual.total, losses)
    assert_same(responses.gradient(actual.total.mean()), responses.gradient(losses.mean()))
    assert_same(actual.chosen_reward, chosen)
    assert_same(actual.rejected_reward, rejected)


@pytest.mark.parametrize("scale", [1.0, 0.01])
@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_orpo_equals_trl(beta: float, scale: float) -> None:
    """TRL's sum is negative log-likelihood less this term; both sides of log1mexp's two forms are met."""
    orpo = pytest.importorskip("trl.experimental.orpo")
    settings, responses = config("orpo", beta=beta), Responses()
    responses.policy = (responses.policy.detach() * scale).requires_grad_()
    trainer = SimpleNamespace(beta=beta, accelerator=_DEVICE)
    policy = responses.reduced(responses.policy, mean=True)
    terms, chosen, rejected, *_ = orpo.ORPOTrainer.odds_ratio_loss(trainer, *policy)
    expected = -policy[0] - terms
    actual = ours(settings, responses)
    assert_same(actual.preference, -terms)
    assert_same(actual.total, expected)
    assert_same(responses.gradient(actual.total.mean()), responses.gradient(expected.mean()))
    assert_same(actual.chosen_reward, chosen)
    assert_same(actual.rejected_reward, rejected)


_DEVICE = SimpleNamespace(device=torch.device("cpu"))

# NeMo-Aligner


@pytest.fixture(scope="module")
def dpo_model(tmp_path_factory: pytest.TempPathFactory) -> type:
    return nemo_aligner.read_dpo_model(tmp_path_factory.mktemp("nemo_aligner"))


def configured(dpo_model: type, settings: PreferenceLossConfig) -> Any:
    model = dpo_model()
    model.preference_loss = settings.loss.name
    model.ref_policy_kl_penalty = settings.beta
    model.gt_reward_scale = settings.gt_reward_scale
    return model


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize(("beta", "scale"), [(0.2, 1.0), (1.5, 0.3)])
@pytest.mark.parametrize("loss", ["dpo", "ipo", "rpo_bwd_kl", "rpo_fwd_kl", "rpo_sq"])
def test_equal_to_nemo_aligner(dpo_model: type, loss: str, beta: float, scale: float, mean: bool) -> None:
    settings = config(loss, beta=beta, gt_reward_scale=scale, average_log_probs=mean)
    responses = Responses()
    labels = torch.where(responses.mask, 1, -100)
    expected, accuracy = configured(dpo_model, settings).loss_func(
        responses.policy, responses.reference, labels, responses.rewards, average_log_probs=mean
    )
    actual = ours(settings, responses)
    assert_same(actual.total.mean(), expected)
    assert_same(responses.gradient(actual.total.mean()), responses.gradient(expected))
    assert (actual.chosen_reward > actual.rejected_reward).float().mean() == accuracy


@pytest.mark.parametrize("mean", [False, True])
def test_weights_of_the_sum_equal_nemo_aligner(dpo_model: type, mean: bool) -> None:
    settings = config("dpo", preference_loss_weight=0.7, sft_loss_weight=0.3, average_log_probs=mean)
    responses = Responses()
    model, labels = configured(dpo_model, settings), torch.where(responses.mask, 1, -100)
    rewards = (responses.policy, responses.reference, labels, responses.rewards)
    preference, _ = model.loss_func(*rewards, average_log_probs=mean)
    sft = model.sft_loss_func(responses.policy, labels, average_log_probs=mean)
    actual = ours(settings, responses)
    expected = 0.7 * preference + 0.3 * sft
    assert_same(actual.total.mean(), expected)
    assert_same(responses.gradient(actual.total.mean()), responses.gradient(expected))
    assert_same(actual.preference.mean(), preference.detach())
    assert_same(actual.sft.mean(), sft.detach())


# What follows from the formulas


def test_a_policy_equal_to_its_reference_loses_ln_2_and_has_no_reward() -> None:
    responses = Responses()
    responses.reference = responses.policy.detach()
    actual = ours(config("dpo"), responses)
    assert_same(actual.total, torch.full((PAIRS,), math.log(2)))
    assert not actual.chosen_reward.any() and not actual.rejected_reward.any()


def test_certain_responses_have_finite_losses_and_gradients() -> None:
    """A response of probability 1 has infinite odds; one step on it must not spoil the weights."""
    scores = PairScores(policy_chosen=torch.zeros(2, requires_grad=True), policy_rejected=torch.tensor([0.0, -50.0]))
    losses = pair_losses(config("orpo"), scores).total
    losses.sum().backward()
    assert losses.isfinite().all() and scores.policy_chosen.grad is not None
    assert scores.policy_chosen.grad.isfinite().all()


def test_a_missing_reference_or_reward_is_our_own_mistake() -> None:
    scores = Responses().scores(mean=False)
    with pytest.raises(AssertionError, match="needs a reference"):
        pair_losses(config("dpo"), replace(scores, reference_chosen=None))
    with pytest.raises(AssertionError, match="needs rewards"):
        pair_losses(config("rpo_sq"), replace(scores, chosen_reward=None))
