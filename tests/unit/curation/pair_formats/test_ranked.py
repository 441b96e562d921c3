"""The best response against the worst, whatever says which these are."""

from typing import Any

import pytest

from megatron_redone.curation.pair_formats.ranked import from_helpsteer3, from_nemo_rl, from_ultrafeedback
from megatron_redone.formats.input_records import InvalidRecordError

OPEN = [{"role": "user", "content": "open?"}]
TEXTS = ("yes", "perhaps", "no")


def said(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text}]


def nemo_rl(*ranks: Any, **more: Any) -> dict[str, Any]:
    completions = [{"rank": rank, "completion": said(text)} for rank, text in zip(ranks, TEXTS, strict=False)]
    return {"context": OPEN, "completions": completions, **more}


def helpsteer3(preference: Any) -> dict[str, Any]:
    return {"context": OPEN, "response1": "yes", "response2": "no", "overall_preference": preference}


def ultrafeedback(*scores: dict[str, Any]) -> dict[str, Any]:
    completions = [{"response": text, **score} for text, score in zip(TEXTS, scores, strict=False)]
    return {"instruction": "open?", "completions": completions, "models": ["a", "b"]}


def test_nemo_rls_lowest_rank_is_the_best() -> None:
    for ranks, chosen, rejected, unused in [((0, 1), "yes", "no", 0), ((2, 1, 3), "perhaps", "no", 1)]:
        record = nemo_rl(*ranks)
        record["completions"][-1]["completion"] = said("no")
        pair = from_nemo_rl(record)
        assert (pair.prompt, pair.chosen, pair.rejected) == (OPEN, said(chosen), said(rejected))
        assert pair.unused == unused and pair.rewards is None


def test_helpsteer3_prefers_the_first_below_zero() -> None:
    assert [from_helpsteer3(helpsteer3(n)).chosen for n in (-3, -1, 1, 3)] == [*[said("yes")] * 2, *[said("no")] * 2]


def test_ultrafeedback_goes_by_the_mean_of_its_aspects_before_the_one_score() -> None:
    pair = from_ultrafeedback(
        ultrafeedback(
            {"fine-grained_score": 2.5, "overall_score": 10.0},
            {"fine-grained_score": 4.75, "overall_score": 7.0},
            {"fine-grained_score": 3.0, "overall_score": 5.0},
        )
    )
    assert (pair.chosen, pair.rejected, pair.rewards, pair.unused) == (said("perhaps"), said("yes"), (4.75, 2.5), 1)
    pair = from_ultrafeedback(ultrafeedback({"overall_score": 2.0}, {"overall_score": None}, {"overall_score": 5}))
    assert (pair.chosen, pair.rejected, pair.rewards, pair.unused) == (said("no"), said("yes"), (5.0, 2.0), 1)


@pytest.mark.parametrize(
    ("read", "record", "reason"),
    [
        (from_nemo_rl, nemo_rl(1, 1), "a tie: the best response is no better than the worst"),
        (from_nemo_rl, nemo_rl(0), "fewer than two completions"),
        (from_nemo_rl, nemo_rl(0, "1"), "'rank' is not a finite number"),
        (from_nemo_rl, {"context": OPEN, "completions": "x"}, "'completions' are not a list of objects"),
        (from_nemo_rl, {**nemo_rl(0, 1), "context": []}, "no messages"),
        (from_helpsteer3, helpsteer3(0), "a tie: neither response is preferred"),
        (from_helpsteer3, helpsteer3(None), "'overall_preference' is not a finite number"),
        (from_ultrafeedback, ultrafeedback({"overall_score": 1}, {}), "fewer than two completions have a score"),
        (from_ultrafeedback, ultrafeedback({"overall_score": 1}, {"overall_score": 1}), "a tie"),
    ],
)
def test_records_without_a_best_and_a_worst_are_refused(read: Any, record: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRecordError, match=reason):
        read(record)
