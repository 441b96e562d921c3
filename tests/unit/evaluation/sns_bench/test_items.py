"""QueryGen with an embedding model, without one, and with another in its place."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from megatron_redone.config.evaluate import Scoring
from megatron_redone.errors import UserError
from megatron_redone.evaluation.benchmark_metrics import benchmark_metrics
from megatron_redone.evaluation.sns_bench import items
from megatron_redone.evaluation.sns_bench.official import OFFICIAL

GOLD, ANSWER = "Is a flute easier than a xiao", "flute or xiao. Which"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random BERT with a tokenizer of letters."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("embedding") / "small-bert"
    folder.mkdir()
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrstuvwxyz",
        *[f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"],
    ]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=1.0,
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def doc(tmp_path: Path, **options: Any) -> dict[str, Any]:
    (tmp_path / "Note-QueryGen.json").write_text(json.dumps([{"content": "Note Title: flutes,", "answer": GOLD}]))
    return items.load(subset="QueryGen", data=str(tmp_path), **options)["test"][0]


def cosine_by_hand(folder: Path, one: str, other: str) -> float:
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, 0] for text in (one, other)]
    return float(torch.cosine_similarity(states[0], states[1], dim=0))


def test_the_embedding_sees_the_cut_answer_and_the_edit_distance_the_whole(tmp_path: Path, bert: Path) -> None:
    found = items.score(doc(tmp_path, embedding=str(bert)), [ANSWER])
    cosine = cosine_by_hand(bert, "flute or xiao", GOLD)
    edit = OFFICIAL["QueryGen"].score([OFFICIAL["QueryGen"].count(ANSWER, GOLD)])
    assert cosine_by_hand(bert, ANSWER, GOLD) != pytest.approx(cosine, abs=1e-4)
    assert items.official([found["official"]]) == pytest.approx((cosine + edit) / 2, abs=1e-5)
    gold = items.score(doc(tmp_path, embedding=str(bert)), [GOLD])
    assert items.corrected([gold["corrected"]]) == pytest.approx(1, abs=1e-5)


def test_a_half_alone_and_a_stand_in_say_so(tmp_path: Path, bert: Path) -> None:
    class Task:
        def higher_is_better(self) -> dict[str, bool]:
            return {}

    def titles(value: dict[str, Any]) -> list[str]:
        return [metric.title for metric in benchmark_metrics(Task(), [{"values": value}], Scoring.corrected)]

    assert titles(items.score(doc(tmp_path), [ANSWER])) == ["corrected score, its half without an embedding"]
    found = items.score(doc(tmp_path, stand_in_embedding=str(bert)), [ANSWER])
    assert titles(found) == [
        "corrected score, its half without an embedding",
        "corrected score, small-bert in the place of the benchmark's embedding",
    ]
    assert "cosine" not in found["official"] and "cosine" not in found["corrected"]
    assert items.with_stand_in([found["with_stand_in"]]) != pytest.approx(items.corrected([found["corrected"]]))


def test_an_embedding_that_is_not_there_is_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="embedding: /nowhere cannot be loaded") as error:
        items.score(doc(tmp_path, embedding="/nowhere"), [ANSWER])
    assert "\n" not in str(error.value)
