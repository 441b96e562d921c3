"""The funnel refuses counts that do not add up, and shows those that do."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

pytest.importorskip("datatrove")

from megatron_redone.curation.counting import Amount, Flow, write_flow
from megatron_redone.curation.funnel import Row, build_funnel, check_funnel, funnel_json, funnel_table
from megatron_redone.errors import UserError


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Two tasks of two steps over one source: 10 documents, of which `length` drops 3 and `held_out` takes 2."""
    for task, (entered, left) in enumerate([(6, 4), (4, 3)]):
        flow = Flow(Amount(entered, 0, entered * 10), Amount(left, 0, left * 10))
        write_flow(tmp_path / "counts/length", task, {"social": flow})
    write_flow(tmp_path / "counts/held_out", 0, {"social": Flow(Amount(7, 0, 70), Amount(5, 0, 50))})
    write_records(tmp_path / "dropped/length/social/00000.jsonl", 2, "too short")
    write_records(tmp_path / "dropped/length/social/00001.jsonl", 1, "too long")
    write_records(tmp_path / "held_out/social/00000.jsonl", 2, None)
    return tmp_path


def write_records(path: Path, number: int, reason: str | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"text": "x" * 10} if reason is None else {"text": "x" * 10, "reason": reason}
    path.write_text("".join(json.dumps(record) + "\n" for _ in range(number)))


def rows(work: Path) -> list[Row]:
    return build_funnel(["length", "held_out"], ["social"], work)


def test_tasks_are_summed_and_reasons_counted(work: Path) -> None:
    length, held_out = rows(work)
    check_funnel([length, held_out])
    assert (length.entered.documents, length.dropped.documents, length.left.documents) == (10, 3, 7)
    assert length.reasons == {"too short": 2, "too long": 1}
    assert (held_out.held_out.documents, held_out.left.characters) == (2, 50)
    table = funnel_table([length, held_out], tokens=False)
    assert "too short 2; too long 1" in table and re.search(r"and held out +2 ", table)
    assert "tokens" not in json.dumps(funnel_json([length], tokens=False))
    assert funnel_json([length], tokens=True)[0]["left"]["tokens"] == 0


def test_a_lost_record_stops(work: Path) -> None:
    write_records(work / "dropped/length/social/00001.jsonl", 0, "too long")
    with pytest.raises(UserError, match=r"'length' do not add up for source 'social': 10 documents entered, 9 are"):
        check_funnel(rows(work))


def test_a_record_written_twice_stops(work: Path) -> None:
    write_records(work / "held_out/social/00000.jsonl", 3, None)
    with pytest.raises(UserError, match="'held_out' do not add up"):
        check_funnel(rows(work))


def test_a_task_that_a_later_step_did_not_see_stops(work: Path) -> None:
    (work / "counts/length/00001.json").unlink()
    write_records(work / "dropped/length/social/00001.jsonl", 0, "too long")
    with pytest.raises(UserError, match=r"Amount\(documents=4.*left 'length', but Amount\(documents=7.*entered"):
        check_funnel(rows(work))


def test_text_that_changed_unseen_stops(work: Path) -> None:
    length, _ = rows(work)
    with pytest.raises(UserError, match="100 characters entered, 99 are accounted for"):
        check_funnel([dataclasses.replace(length, left=Amount(7, 0, 69))])


def test_a_lost_comment_stops(work: Path) -> None:
    length, _ = rows(work)
    with pytest.raises(UserError, match="5 comments entered, 4 are accounted for"):
        check_funnel(
            [dataclasses.replace(length, entered=Amount(10, 5, 100), left=Amount(7, 3, 70), comments_dropped=1)]
        )
