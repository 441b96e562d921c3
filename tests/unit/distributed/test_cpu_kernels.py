"""Kernels for the CPU; the oracles are megatron-core's own functions and autograd."""

import pytest
import torch

from megatron_redone.distributed import cpu_kernels
from megatron_redone.distributed.cpu_kernels import _EmbeddingOnly, _GradientAccumulation, exponentials, largest_logits


@pytest.mark.parametrize("cached", [7, 100, 1 << 22])
@pytest.mark.parametrize(("first", "last"), [(0, 11), (11, 22), (5, 16)])
def test_cross_entropy_s_parts_are_megatron_core_s(
    first: int, last: int, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another test of this process may have replaced the functions: the source says what they were.
    from megatron.core.tensor_parallel import cross_entropy

    namespace: dict = {"__name__": cross_entropy.__name__, "__package__": "megatron.core.tensor_parallel"}
    with open(cross_entropy.__file__) as stream:
        exec(compile(stream.read(), cross_entropy.__file__, "exec"), namespace)
    original = namespace["VocabParallelCrossEntropy"]
    monkeypatch.setattr(cpu_kernels, "_CACHED_LOGITS", cached)
    logits = torch.randn(5, 2, 11, generator=torch.Generator().manual_seed(1))
    target = torch.tensor([[0, 21], [11, 10], [5, 15], [16, 4], [7, 12]])
    ours, theirs = largest_logits(logits.clone()), original.calculate_logits_max(logits.clone())
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    maximum = theirs[1] + 0.25  # as of another rank
    ours = exponentials(logits.clone(), target, maximum, first, last)
    theirs = original.calculate_predicted_logits(logits.clone(), target, maximum, first, last)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=0)


def test_the_embedding_adds_to_its_main_gradient_what_autograd_would() -> None:
    ids = torch.tensor([[1, 3, 1], [0, 3, 3]])
    upstream = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(2))
    plain = torch.nn.Parameter(torch.randn(5, 4))
    (torch.nn.functional.embedding(ids, plain) * upstream).sum().backward()
    ours = torch.nn.Parameter(plain.detach().clone())
    ours.main_grad = torch.full((5, 4), 2.0)  # type: ignore[attr-defined]
    rows = _EmbeddingOnly.embedding(ids, ours)
    (rows * upstream).sum().backward()
    assert ours.grad is None and torch.equal(rows, torch.nn.functional.embedding(ids, plain))
    torch.testing.assert_close(ours.main_grad, plain.grad + 2.0)  # type: ignore[attr-defined,operator]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weight_gradients_are_added_to(dtype: torch.dtype) -> None:
    tokens, grads = torch.randn(6, 3).to(dtype), torch.randn(6, 4).to(dtype)
    main = torch.ones(4, 3)
    _GradientAccumulation.wgrad_gemm_accum_fp32(tokens, grads, main)
    torch.testing.assert_close(main - 1, grads.float().t() @ tokens.float(), rtol=2e-2, atol=2e-2)
