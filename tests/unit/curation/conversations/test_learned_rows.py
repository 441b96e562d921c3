"""What is learned of a conversation under templates that drop parts of it, against transformers and by hand."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.curation.conversations.conversation import ROLES, Conversation, read_messages
from megatron_redone.curation.conversations.learned_rows import LearnedRows, learned_rows
from megatron_redone.tokenization.chat_template_file import find_chat_template
from megatron_redone.tokenization.chat_tokenizer import ChatTokenizer
from megatron_redone.tokenization.turn_spans import CannotBeMasked
from tests.helpers import chat_tokenizers, small_tokenizer
from tests.helpers.answer_chats import judge_all
from tests.helpers.golden_chats import answers, question

NOON = datetime(2025, 7, 10, 12, 0)
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "tide", "arguments": {"port": "Rye"}}}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_tokenizer.train(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def tokenizers(small: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ChatTokenizer]:
    root = tmp_path_factory.mktemp("templates")
    names = ("qwen3", "llama3_1", "chatml_generation", "strips_thoughts", "mistral")
    folders = {name: chat_tokenizers.write(root / name, small, name) for name in names}
    return {name: ChatTokenizer(str(f), find_chat_template(f, None), {}, NOON) for name, f in folders.items()}


def learned(rows: LearnedRows) -> list[list[str]]:
    return [[chat.text[first:stop] for first, stop in chat.learned] for chat in rows.chats]


def rows_of(tokenizer: ChatTokenizer, messages: list[dict[str, Any]], **more: Any) -> LearnedRows:
    read = read_messages(messages, ROLES)
    return learned_rows(tokenizer, Conversation(read), more.pop("turns", answers(read)), **more)


def test_every_part_of_generated_answers_is_learned_or_counted(small: Path, tmp_path: Path) -> None:
    """The short form of tools/answers_against_transformers.py."""
    pytest.importorskip("transformers")
    found = judge_all(8, tmp_path, small, seed=1)
    assert (found.ids_unequal, found.lost_uncounted, found.tracebacks) == (0, 0, 0), found.examples
    assert found.chats == 112 and found.rows > 60 and found.lost > 30 and found.parts > found.lost


REASONING = [
    {"role": "user", "content": "1+1?"},
    {"role": "assistant", "content": "2", "reasoning_content": "One and one."},
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": "<think>\nTwo and two.\n</think>\n\n4"},
]


def test_qwen3_drops_earlier_reasoning_and_a_row_for_each_answer_keeps_it(tokenizers: dict[str, ChatTokenizer]) -> None:
    last = "<think>\nTwo and two.\n</think>\n\n4<|im_end|>"
    whole = rows_of(tokenizers["qwen3"], REASONING)
    assert learned(whole) == [["2<|im_end|>", last]] and whole.lost == {"reasoning": 1}
    apart = rows_of(tokenizers["qwen3"], REASONING, as_generated=True)
    assert learned(apart) == [["<think>\nOne and one.\n</think>\n\n2<|im_end|>"], [last]] and not apart.lost
    # The answer before it stands in the second row as it will when the model is asked: without its reasoning.
    assert "One and one." not in apart.chats[1].text and apart.chats[1].text.startswith(whole.chats[0].text[:40])


def test_answers_that_are_rendered_as_they_were_share_a_row(tokenizers: dict[str, ChatTokenizer]) -> None:
    chat = [*question("a?", "b"), *question("c?", "d"), {"role": "user", "content": "Thanks"}]
    rows = rows_of(tokenizers["chatml_generation"], chat, as_generated=True)
    assert learned(rows) == [["b<|im_end|>", "d<|im_end|>"]] and rows.chats[0].text.endswith("d<|im_end|>\n")


def test_thoughts_and_texts_that_templates_strip_are_counted(tokenizers: dict[str, ChatTokenizer]) -> None:
    thinking = question("1+1?", "<think>\nOne and one make two.\n</think>\n\n2")
    stripped = rows_of(tokenizers["strips_thoughts"], thinking)
    assert learned(stripped) == [["\n\n2<|im_end|>"]] and stripped.lost == {"reasoning": 1}
    beside = {"role": "assistant", "content": "Let me look.", "tool_calls": [CALL]}
    chat = [
        {"role": "user", "content": "tide?"},
        beside,
        {"role": "tool", "content": "06:10", "tool_call_id": CALL["id"]},
    ]
    chat.append({"role": "assistant", "content": "six"})
    for name in ("llama3_1", "mistral"):
        assert rows_of(tokenizers[name], chat).lost == {"text": 1}, name
    assert rows_of(tokenizers["chatml_generation"], chat).lost == {"call": 1}
    assert not rows_of(tokenizers["qwen3"], chat).lost
    # A text that is not learned is missed too, a reasoning that is not learned is not.
    assert rows_of(tokenizers["llama3_1"], chat, turns=[3]).lost == {"text": 1}
    assert not rows_of(tokenizers["qwen3"], REASONING, turns=[3]).lost


def test_with_everything_learned_the_answers_must_be_there_too(tokenizers: dict[str, ChatTokenizer]) -> None:
    rows = rows_of(tokenizers["qwen3"], REASONING, turns=None)
    assert rows.lost == {"reasoning": 1} and learned(rows) == [[rows.chats[0].text]]


def test_weights_hold_for_their_turns_and_leave_them_out_of_a_whole_text(tokenizers: dict[str, ChatTokenizer]) -> None:
    chat = [*question("a?", "b"), *question("c?", "d"), *question("e?", "f")]
    chat[1]["weight"], chat[3]["weight"] = 0.5, 0
    some = rows_of(tokenizers["chatml_generation"], chat, turns=[1, 5])
    assert learned(some) == [["b<|im_end|>", "f<|im_end|>"]] and some.chats[0].weights == [0.5, 1.0]
    whole = rows_of(tokenizers["chatml_generation"], chat, turns=None).chats[0]
    ((ids, weights),) = tokenizers["chatml_generation"].encode([whole])
    assert "".join(whole.text[a:b] for a, b in sorted(whole.learned)) == whole.text.replace("d<|im_end|>", "", 1)
    assert len(ids) == len(weights) and sorted(set(weights.tolist())) == [0.0, 0.5, 1.0]


def test_parts_of_a_content_are_learned_with_the_end_of_the_turn(tokenizers: dict[str, ChatTokenizer]) -> None:
    chat = question("a?", " wrong right ")
    chat[1]["train_detail"] = [
        {"begin_offset": 0, "end_offset": 6, "train": False},
        {"begin_offset": 7, "end_offset": 99, "train": True},
    ]
    assert learned(rows_of(tokenizers["llama3_1"], chat)) == [["right", "<|eot_id|>"]]
    assert learned(rows_of(tokenizers["chatml_generation"], chat)) == [["right", " <|im_end|>"]]
    chat[1]["content"] = "<think>so</think>right"
    with pytest.raises(CannotBeMasked, match="the content that train_detail counts in"):
        rows_of(tokenizers["strips_thoughts"], chat)


def test_a_conversation_has_variables_of_its_own(tokenizers: dict[str, ChatTokenizer], small: Path) -> None:
    """As transformers renders it with them; the next conversation is rendered without."""
    transformers = pytest.importorskip("transformers")
    file = str(small / "tokenizer.json")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=file, eos_token="<|im_end|>")
    template = (chat_tokenizers.TEMPLATES / "llama3_1.jinja").read_text(encoding="utf-8")
    chat = question("tide?", "six")
    for variables in ({"date_string": "10 Jul 2025"}, {}):
        rows = learned_rows(tokenizers["llama3_1"], Conversation(chat, None, variables), [1])
        expected = theirs.apply_chat_template(
            chat, chat_template=template, tokenize=False, bos_token="<|begin_of_text|>", **variables
        )
        assert rows.chats[0].text == expected and learned(rows) == [["six<|eot_id|>"]]
