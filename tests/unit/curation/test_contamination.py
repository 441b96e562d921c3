"""Text of evaluation sets is found however it is written, and what is common is not."""

import csv
import json
from pathlib import Path

import pytest

pytest.importorskip("datatrove")

from datatrove.data import Document

from megatron_redone.config.curate import Contaminated, DecontaminationConfig
from megatron_redone.curation.contamination import ItemIndex, cut
from megatron_redone.curation.counting import Counted, TokenCounter
from megatron_redone.curation.decontamination import Decontaminate
from megatron_redone.curation.evaluation_items import Field, read_items
from megatron_redone.curation.funnel import build_funnel, check_funnel
from megatron_redone.errors import UserError

QUESTION = "Which of the following bodies of water lies between the island of Honshu and the mainland of Asia?"
OPTIONS = ["The Sea of Japan, also called the East Sea", "The Yellow Sea near the mouth of the Huai"]
CHINESE = "下列关于植物光合作用暗反应阶段的叙述中，正确的是哪一项？"
POST = "I went to the lake on Sunday and the weather was lovely, we should all go there again next month."
QUOTED = [
    f"{POST} {QUESTION} {POST}",
    QUESTION.upper(),
    "\n".join(" ".join(QUESTION.split()[i : i + 3]) for i in range(0, 30, 3)),
    f"{POST * 30}{QUESTION}{POST * 30}",
    "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else "\u3000" for c in QUESTION),
    f"{OPTIONS[1]} or {OPTIONS[0]}",
    " ".join(CHINESE),
    CHINESE[:14] + "\n" + CHINESE[14:],
]


def items() -> list[tuple[Field, str]]:
    texts = {"question": QUESTION, "options.0": OPTIONS[0], "options.1": OPTIONS[1], "answer": "B", "zh": CHINESE}
    return [(Field("quiz", "7", name), text) for name, text in texts.items()]


@pytest.mark.parametrize("text", QUOTED)
def test_an_item_is_found_however_it_is_written(text: str) -> None:
    [runs] = ItemIndex(items(), 13, 24, 3).search([text])
    assert runs and runs[0].field.item == "7"


def test_the_place_is_that_of_the_text_as_it_is() -> None:
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else "\u3000" for c in QUESTION)
    [runs] = ItemIndex(items(), 13, 24, 3).search([f"①㎏ {POST} {wide}。{POST}"])
    [run] = runs
    assert f"①㎏ {POST} {wide}。{POST}"[run.start : run.end] == wide[:-1] and run.units == len(QUESTION.split())
    assert cut(f"①㎏ {POST} {wide}。{POST}", runs) == f"①㎏ {POST}\n？。{POST}"


def test_what_is_common_is_no_item() -> None:
    index = ItemIndex(items(), 13, 24, 3)
    assert index.not_looked_for == 1, "the answer B"
    assert index.search([POST, "B", "the following bodies of water lies between the island", ""]) == [[], [], [], []]


def test_phrases_of_the_evaluation_set_itself_are_not_looked_for() -> None:
    told = "Please choose the best of the following answers and give its letter alone in brackets:"
    many = [
        (Field("quiz", str(i), "q"), f"{told} question number {i} {'abcdefgh'[i]} {QUESTION[i * 9 :]}")
        for i in range(8)
    ]
    index = ItemIndex(many, 13, 24, 3)
    assert index.search([told]) == [[]] and index.search([many[0][1]])[0]


def test_sets_are_read_from_csv_and_json(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["question", "A"], [QUESTION, OPTIONS[0]]])
    (tmp_path / "b.json").write_text(json.dumps([{"id": "x", "q": {"options": OPTIONS}}]))
    found = {(field.item, field.name): text for field, text in read_items([str(tmp_path)])}
    assert found == {
        ("0", "question"): QUESTION,
        ("0", "A"): OPTIONS[0],
        ("x", "id"): "x",
        ("x", "q.options.0"): OPTIONS[0],
        ("x", "q.options.1"): OPTIONS[1],
    }


def test_what_lies_beside_csv_is_passed_over_and_so_are_empty_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"question\n{QUESTION}\n")
    (tmp_path / "README.txt").write_text("Tests.")
    assert [text for _, text in read_items([str(tmp_path)])] == [QUESTION]
    (tmp_path / "b.jsonl").write_text(json.dumps({"q": "why"}) + "\n\n")
    assert [text for _, text in read_items([str(tmp_path)])] == [QUESTION, "why"]


@pytest.mark.parametrize("line", ["[1]", '{"q": '])
def test_a_line_that_is_no_item_is_told_with_its_place(tmp_path: Path, line: str) -> None:
    (tmp_path / "b.jsonl").write_text(json.dumps({"q": "why"}) + f"\n{line}\n")
    with pytest.raises(UserError, match=r"b\.jsonl:2: "):
        list(read_items([str(tmp_path)]))


@pytest.mark.parametrize("action", list(Contaminated))
def test_a_document_is_dropped_or_cut_and_told(tmp_path: Path, action: Contaminated) -> None:
    (tmp_path / "quiz.jsonl").write_text(json.dumps({"id": "7", "question": QUESTION}) + "\n")
    config = DecontaminationConfig(benchmarks=[str(tmp_path / "quiz.jsonl")], action=action)
    texts = [POST, f"{POST} {QUESTION}", QUESTION]
    documents = [Document(text, str(i), metadata={"source": "posts"}) for i, text in enumerate(texts)]
    left = [one.text for one in Decontaminate(config, tmp_path / "dropped").run(iter(documents))]
    assert left == ([POST] if action is Contaminated.drop else [POST, POST + "\n?"])
    step = "contamination" if action is Contaminated.drop else "contamination_cut"
    if action is Contaminated.cut:
        assert "2" in (tmp_path / "dropped/contamination/posts/00000.jsonl").read_text(), "nothing is left of the last"
    lines = (tmp_path / f"dropped/{step}/posts/00000.jsonl").read_text().splitlines()
    found = json.loads(lines[0])["found"][0]
    assert (found["item"], found["field"], found["units"]) == ("7", "question", len(QUESTION.split()))
    assert texts[1][found["start"] : found["end"]] == QUESTION[:-1]


class Words:
    """Counts words where a tokenizer would count tokens."""

    def count(self, text: str) -> int:
        return len(text.split())


def test_what_is_cut_counts_no_longer(tmp_path: Path) -> None:
    (tmp_path / "quiz.jsonl").write_text(json.dumps({"id": "7", "question": QUESTION}) + "\n")
    config = DecontaminationConfig(benchmarks=[str(tmp_path / "quiz.jsonl")], action=Contaminated.cut)
    lines = [f"- A: {POST}", f"- B: {QUESTION}", f"  - OP: {QUESTION}", f"  - A: Well. {QUESTION}", f"- {QUESTION}"]
    text = "\n".join([f"{POST} {QUESTION}", "", *lines])
    metadata = {"source": "posts", "comments": 5, "tokens": len(text.split())}
    counter: TokenCounter = Words()  # type: ignore[assignment]
    counted = Counted("contamination", Decontaminate(config, tmp_path / "dropped", counter), tmp_path / "counts")
    [left] = counted.run(iter([Document(text, "1", metadata=metadata)]))
    assert [line for line in left.text.splitlines() if len(line) > 1] == [POST, lines[0], "  - A: Well."]
    assert left.metadata["comments"] == 2 and left.metadata["tokens"] == len(left.text.split())
    gone = (tmp_path / "dropped/contamination_comments/posts/00000.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in gone] == [QUESTION] * 3
    [row] = build_funnel(["contamination"], ["posts"], tmp_path)
    assert (row.entered.comments, row.comments_dropped, row.left.comments) == (5, 3, 2)
    assert row.left.tokens == left.metadata["tokens"]
    check_funnel([row])
