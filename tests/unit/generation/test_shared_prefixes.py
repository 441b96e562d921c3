"""Groups of sequences that begin alike, and that a shared prefix changes nothing."""

import dataclasses

import numpy as np
import pytest
import torch

from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import BatchLimits, Row, score_rows
from megatron_redone.generation.sampling import greedy_answers
from megatron_redone.generation.shared_prefixes import LEAST, group_by_prefix

LIMITS = BatchLimits(4, 100_000)


def subject(number: int, items: int, first: int = 0) -> list[list[int]]:
    """Prompts of 90 tokens that share 80, of which the first 36 with other subjects."""
    shared = [1] * 36 + [number] * 44
    return [[*shared, *range(first + item, first + item + 10)] for item in range(items)]


def groups(sequences: list[list[int]]) -> set[tuple[int, frozenset[int]]]:
    found = group_by_prefix(sequences, [len(ids) - 1 for ids in sequences])
    assert sorted(i for group in found for i in group.members) == list(range(len(sequences)))
    for group in found:
        assert len({tuple(sequences[i][: group.length]) for i in group.members}) == 1
    return {(group.length, frozenset(group.members)) for group in found}


def test_each_subject_is_a_group_of_its_own() -> None:
    sequences = subject(2, 3) + subject(3, 2) + subject(4, 1)
    assert groups(sequences) == {(80, frozenset({0, 1, 2})), (80, frozenset({3, 4})), (0, frozenset({5}))}
    assert groups(sequences[::-1]) == {(80, frozenset({3, 4, 5})), (80, frozenset({1, 2})), (0, frozenset({0}))}


def test_short_prefixes_are_not_shared() -> None:
    short = [[1] * (LEAST - 1) + [item] * 9 for item in range(3)]
    assert groups(short) == {(0, frozenset({0, 1, 2}))}


def test_what_is_asked_for_stands_behind_the_prefix() -> None:
    same = [[1] * 60] * 3
    [group] = group_by_prefix(same, [59, 41, 59])
    assert group.length == 41


@pytest.fixture
def rows() -> list[Row]:
    random = np.random.default_rng(3)
    shared = random.integers(3, 60, 50).tolist()
    found = []
    for length in (3, 9, 9, 17, 30, 5):
        ids = [*shared, *random.integers(3, 60, length).tolist()]
        found.append(Row(ids, len(ids) - 2))
    letters = [Row([*found[3].ids[:-1], letter], len(found[3].ids) - 1) for letter in (7, 8, 9)]
    return [*found, *letters, Row(random.integers(3, 60, 40).tolist(), 1)]


def test_scores_do_not_depend_on_sharing(chat_model: LoadedModel, rows: list[Row]) -> None:
    alone = score_rows(dataclasses.replace(chat_model, prefixes=None), rows, BatchLimits(1, 1))
    shared = score_rows(chat_model, rows, LIMITS)
    np.testing.assert_allclose(shared.sums, alone.sums, rtol=0, atol=1e-4)
    assert (shared.is_greedy == alone.is_greedy).all()
    with torch.inference_mode():
        for row, value, greedy in zip(rows, alone.sums, alone.is_greedy, strict=True):
            logits = chat_model.model(torch.tensor([row.ids])).logits[0, row.first - 1 : -1].float()
            theirs = logits.log_softmax(1).gather(1, torch.tensor(row.ids[row.first :])[:, None]).sum()
            assert value == pytest.approx(float(theirs), abs=1e-4)
            assert greedy == (logits.argmax(1).tolist() == row.ids[row.first :])


def test_a_prefix_is_computed_once(chat_model: LoadedModel, rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    states = chat_model.states

    def counted(tokens: torch.Tensor, past: object = None) -> torch.Tensor:
        read.append(tokens.numel())
        return states(tokens, past)

    score_rows(dataclasses.replace(chat_model, states=counted), rows, BatchLimits(100, 100_000))
    assert sum(read) < 300 < sum(len(row.ids) for row in rows)


def test_answers_do_not_depend_on_sharing(chat_model: LoadedModel, rows: list[Row]) -> None:
    prompts = [row.ids for row in rows]
    alone = greedy_answers(dataclasses.replace(chat_model, prefixes=None), prompts, 12, BatchLimits(1, 1))
    assert greedy_answers(chat_model, prompts, 12, LIMITS) == alone
    assert len(set(alone)) > 1


def test_answers_end_before_a_stop(chat_model: LoadedModel, rows: list[Row]) -> None:
    prompts = [row.ids for row in rows]
    whole = greedy_answers(chat_model, prompts, 12, LIMITS)
    stop = next(text[2:4] for text in whole if len(text) > 5)
    cut = greedy_answers(chat_model, prompts, 12, LIMITS, stops=[stop])
    assert cut == [text.split(stop)[0] for text in whole] != whole
