"""What every rank does when one of them fails; tests/distributed/test_errors.py has real ranks."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from megatron_redone.distributed.collectives import (
    StoppedOnAllRanks,
    all_reduce_with_grad,
    errors_stop_all_ranks,
    largest,
    shared_failure,
    sum_over,
)
from megatron_redone.errors import DamageError, UserError


def ranks(monkeypatch: pytest.MonkeyPatch, rank: int, others: list[Any]) -> None:
    """This process as one of several, whose answers are known."""

    def gather(found: list[Any], own: Any) -> None:
        found[:] = [*others[:rank], own, *others[rank:]]

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: len(others) + 1)
    monkeypatch.setattr(dist, "get_rank", lambda: rank)
    monkeypatch.setattr(dist, "all_gather_object", gather)
    monkeypatch.setattr(dist, "barrier", lambda: None)


def test_alone_an_error_passes_unchanged() -> None:
    with pytest.raises(KeyError), errors_stop_all_ranks():
        raise KeyError("a")
    assert largest(5) == 5


@pytest.mark.parametrize("rank", [0, 1])
def test_a_mistake_of_another_rank_ends_this_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank: int
) -> None:
    ranks(monkeypatch, rank, [None, (True, "x.bin: damaged")])
    with pytest.raises(StoppedOnAllRanks) as stopped, errors_stop_all_ranks():
        pass
    assert (stopped.value.code, stopped.value.reason) == (2, "x.bin: damaged (rank 2)")
    assert capsys.readouterr().err == ("redone: x.bin: damaged (rank 2)\n" if rank == 0 else "")


def test_a_mistake_of_all_is_said_once_and_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ranks(monkeypatch, 0, [(True, "no such file")])
    with pytest.raises(StoppedOnAllRanks) as stopped, errors_stop_all_ranks():
        raise UserError("no such\n  file")
    assert stopped.value.code == 2 and capsys.readouterr().err == "redone: no such file\n"


def test_a_failure_that_is_no_mistake_shows_where_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ranks(monkeypatch, 1, [None])
    with pytest.raises(StoppedOnAllRanks) as stopped, errors_stop_all_ranks():
        raise ValueError("odd")
    assert (stopped.value.code, stopped.value.reason) == (1, "ValueError: odd (rank 1)")
    assert "Traceback" in capsys.readouterr().err


def test_nobody_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks(monkeypatch, 0, [None, None])
    with errors_stop_all_ranks():
        done = True
    assert done


def test_a_gradient_is_that_of_a_ranks_own_term(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks with the same values: the sum is twice the tensor, the gradient is not."""
    group: Any = SimpleNamespace(size=lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda tensor, group: tensor.mul_(2))
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    found = all_reduce_with_grad(values, group)
    found.square().sum().backward()
    assert found.tolist() == [2.0, 4.0] and values.tolist() == [1.0, 2.0]
    assert values.grad is not None and values.grad.tolist() == [4.0, 8.0]
    assert sum_over(torch.tensor([3.0]), group).tolist() == [6.0]


@pytest.mark.parametrize("own", [None, "a.bin: damaged"])
def test_a_failure_that_is_shared_is_raised_by_all(monkeypatch: pytest.MonkeyPatch, own: str | None) -> None:
    """errors_stop_all_ranks asks first and finds none; then the ranks tell each other of this kind."""
    answers = iter([[None], [["b.bin: damaged"]]])

    def gather(found: list[Any], mine: Any) -> None:
        found[:] = [mine, *next(answers)]

    ranks(monkeypatch, 0, [None])
    monkeypatch.setattr(dist, "all_gather_object", gather)
    with pytest.raises(DamageError, match=own or "b.bin: damaged"), shared_failure(DamageError):
        if own is not None:
            raise DamageError(own)


def test_without_a_failure_nothing_is_raised_and_other_errors_pass() -> None:
    with shared_failure(DamageError):
        pass
    with pytest.raises(DamageError, match="a"), shared_failure(DamageError):
        raise DamageError("a")
    with pytest.raises(UserError, match="b") as caught, shared_failure(DamageError):
        raise UserError("b")
    assert not isinstance(caught.value, DamageError)
