"""A source is finished where the manifests of all its datasets say the same, and all files are there."""

import dataclasses
from pathlib import Path

import pytest

from megatron_redone.config.prepare_sft import ConversationSource
from megatron_redone.curation.chats.chat_data import SourceFacts, SourcePlan
from megatron_redone.formats.done_check import is_complete
from megatron_redone.formats.file_record import record_file
from megatron_redone.formats.manifest import CONVERSATIONS, TokenizerRecord, write_manifest


@dataclasses.dataclass
class Manifest:
    """As much of one as says what is finished."""

    work: str
    files: dict[str, object]


def write(prefix: str, work: str) -> None:
    files = {}
    for suffix in ("bin", "idx"):
        Path(f"{prefix}.{suffix}").write_text(prefix + suffix)
        files[suffix] = dataclasses.asdict(record_file(Path(f"{prefix}.{suffix}")))
    write_manifest(prefix, Manifest(work, files), CONVERSATIONS)


@pytest.fixture
def plan(tmp_path: Path) -> SourcePlan:
    source = ConversationSource(input=["x.jsonl"], name="a", validation_count=3)
    found = SourcePlan(0, source, [], str(tmp_path / "a"), "work")
    for prefix in found.splits.values():
        write(prefix, "work")
    return found


def complete(plan: SourcePlan) -> bool:
    return is_complete(plan.finished(), plan.work, overwrite=False, place="a")


def test_both_datasets_count_and_the_one_to_learn_from_is_completed_last(plan: SourcePlan) -> None:
    assert complete(plan) and list(plan.splits) == ["validation", "train"]
    finished = plan.finished()
    assert finished is not None and len(finished.files) == 4


@pytest.mark.parametrize("suffix", ["bin", "manifest.json"])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_file_of_either_that_is_missing_is_found(plan: SourcePlan, split: str, suffix: str) -> None:
    Path(f"{plan.splits[split]}.{suffix}").unlink()
    assert not complete(plan)


def test_a_held_out_set_of_another_run_does_not_belong_to_it(plan: SourcePlan) -> None:
    write(plan.validation_prefix, "other work")
    assert not complete(plan)


def test_without_anything_held_out_there_is_one_dataset(tmp_path: Path) -> None:
    alone = SourcePlan(0, ConversationSource(input=["x"], name="b"), [], str(tmp_path / "b"), "work")
    assert list(alone.splits) == ["train"] and alone.finished() is None
    write(alone.prefix, "work")
    assert complete(alone)


def test_facts_are_the_keywords_of_a_manifest() -> None:
    facts = SourceFacts("a", "chat", TokenizerRecord("x", "x", 9, None), {}, "", "", [], "work", {"seed": 1})
    assert SourceFacts(**facts.as_keywords()) == facts
