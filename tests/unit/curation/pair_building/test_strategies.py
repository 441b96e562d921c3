"""From an entry to its pairs, with a policy that counts its answers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from megatron_redone.config.build_preferences import AnnotatedConfig, JudgedConfig, ObjectiveConfig, SamplingConfig
from megatron_redone.curation.pair_building.answer_cache import AnswerCache
from megatron_redone.curation.pair_building.result import Result
from megatron_redone.curation.pair_building.strategies import build_entry, files_of_entry
from tests.helpers.preference_sources import entry, reasons, write_lines

RECORDS = [{"id": i, "q": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(3)]


class Policy:
    """Answers with the wrong number and with the right one; its third prompt is too long."""

    def __init__(self, cache: AnswerCache) -> None:
        self.cache = cache

    def sample(self, prompts: Sequence[Any], sampling: SamplingConfig) -> list[list[str] | None]:
        self.cache.put("asked", [prompt[-1]["content"] for prompt in prompts])
        drawn: list[list[str] | None] = [[str(99 - i), str(2 * i)][: sampling.samples] for i in range(len(prompts))]
        return [*drawn[:2], None]

    def log_probs(self, answers: Sequence[Any]) -> list[float | None]:
        return [-float(len(text)) for _, text in answers]


def objective(tmp_path: Path, **more: Any) -> Any:
    values = {
        "name": "sums",
        "source": {"input": [write_lines(tmp_path / "records.jsonl", RECORDS)], "prompt": "{q}", "id_key": "id"},
        "scorer": "number",
        **more,
    }
    return entry(ObjectiveConfig, tmp_path, values)


def build(tmp_path: Path, config: Any) -> Result:
    return build_entry(config, None, tmp_path, lambda _, cache: Policy(cache))


def test_answers_of_the_policy_join_those_of_files(tmp_path: Path) -> None:
    candidates = [{"id": 0, "candidates": ["7 or so"]}, {"id": 2, "candidates": ["5"]}]
    files = [write_lines(tmp_path / "candidates.jsonl", candidates)]
    more = {"policy": {"path": "x"}, "sampling": {"samples": 2}}
    result = build(tmp_path, objective(tmp_path, candidates=files, **more))
    made = {pair.record.id: (pair.rejected, pair.provenance["candidates"]) for pair in result.pairs}
    # Of record 0 the shorter answer is the likelier; of record 2 the file's answer stays though the prompt is too long.
    assert made == {"0": ("99", 3), "1": ("98", 2), "2": ("5", 1)}
    [line] = (tmp_path / "sums.policy.jsonl").read_text().splitlines()
    assert json.loads(line)["answer"] == [record["q"] for record in RECORDS]
    alone = build(tmp_path, objective(tmp_path, **more))
    assert reasons(alone) == {"too long for the policy": 1}


def test_without_a_policy_none_is_opened(tmp_path: Path) -> None:
    files = [write_lines(tmp_path / "candidates.jsonl", [{"id": 1, "candidates": ["5"]}])]
    result = build_entry(objective(tmp_path, candidates=files), None, tmp_path, None)  # type: ignore[arg-type]
    assert [pair.rejected for pair in result.pairs] == ["5"] and not list(tmp_path.glob("*.policy.jsonl"))


def test_every_file_that_an_entry_reads_is_named(tmp_path: Path) -> None:
    """By these the pipeline knows that pairs are stale."""
    people = entry(AnnotatedConfig, tmp_path, {
        "name": "people", "source": {"input": ["people.jsonl"], "prompt": "{q}"}, "responses": ["r"],
        "labels": {"annotators": ["ann"]},
    })  # fmt: skip
    judged = entry(JudgedConfig, tmp_path, {
        "name": "judge", "source": {"input": ["new.jsonl"], "prompt": "{q}"}, "responses": ["r"], "human": "people",
        "scores": ["s.jsonl"], "human_scores": ["h.jsonl"],
    })  # fmt: skip
    assert files_of_entry(people, None) == ["people.jsonl"]
    assert files_of_entry(judged, people) == ["new.jsonl", "people.jsonl", "s.jsonl", "h.jsonl"]
    named = files_of_entry(objective(tmp_path, candidates=["c.jsonl"]), None)
    assert named == [str(tmp_path / "records.jsonl"), "c.jsonl"]
