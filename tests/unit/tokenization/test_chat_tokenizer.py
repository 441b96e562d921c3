"""Ids and masks of conversations against transformers, over all real conversations where they are at hand."""

import importlib.util
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

from megatron_redone.config.prepare_sft import LossOn
from megatron_redone.curation.conversations.records import learned_turns
from megatron_redone.errors import UserError
from megatron_redone.tokenization.chat_template import TemplateRefusal
from megatron_redone.tokenization.chat_template_file import ChatTemplateFile, find_chat_template
from megatron_redone.tokenization.chat_tokenizer import ChatTokenizer, RenderedChat
from megatron_redone.tokenization.turn_spans import CannotBeMasked
from tests.helpers import chat_tokenizers, golden_chats, small_tokenizer
from tests.helpers.golden_chats import Chat, answers, question
from tests.helpers.shared_data import FOLDER, TOKENIZER, needs_shared_data

# For the sake of time: ids of all conversations are compared with one template; with the others their
# texts, of the 21,000 sentence pairs among them one in eight, and the ids of one in twelve.
SENTENCES = 8
SAMPLE = 12
NOON = datetime(2025, 7, 10, 12, 0)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_tokenizer.train(tmp_path_factory.mktemp("small"))


def chat_tokenizer(folder: Path, template: str | None = None, **variables: Any) -> ChatTokenizer:
    return ChatTokenizer(str(folder), find_chat_template(folder, template), variables, NOON)


def ids_and_masks(tokenizer: ChatTokenizer, chats: list[Chat]) -> tuple[list[list[int]], list[list[int]]]:
    encoded = tokenizer.encode([tokenizer.render(chat, None, answers(chat)) for chat in chats])
    return [ids.tolist() for ids, _ in encoded], [mask.tolist() for _, mask in encoded]


@pytest.fixture(scope="module")
def real_chats() -> list[Chat]:
    """Every conversation of the real fine-tuning data, and the dialogues of the preference data."""
    return [*_translations(), *_single_turns(), *_dialogues()]


def _single_turns() -> Iterator[Chat]:
    for name in ("alpaca_en_demo", "alpaca_zh_demo", "identity", "gpteacher_roleplay"):
        for record in json.loads((FOLDER / f"sft/{name}.json").read_text(encoding="utf-8")):
            yield question("\n".join(filter(None, (record["instruction"], record["input"]))), record["output"])
    for line in (FOLDER / "sft/gsm8k_train.jsonl").open(encoding="utf-8"):
        record = json.loads(line)
        yield question(record["question"], record["answer"])
    for line in (FOLDER / "sft/self_instruct_seed.jsonl").open(encoding="utf-8"):
        record = json.loads(line)
        for one in record["instances"]:
            yield question("\n".join(filter(None, (record["instruction"], one["input"]))), one["output"])


def _translations() -> Iterator[Chat]:
    for line in (FOLDER / "sft/tatoeba_cmn_eng.txt").open(encoding="utf-8"):
        english, chinese = line.rstrip("\n").split("\t")[:2]
        yield question(english, chinese)


def _dialogues() -> Iterator[Chat]:
    roles = {"human": "user", "gpt": "assistant", "system": "system"}
    for name in ("dpo_en_demo", "dpo_zh_demo"):
        for record in json.loads((FOLDER / f"dpo/{name}.json").read_text(encoding="utf-8")):
            turns = [*record["conversations"], record["chosen"]]
            yield [{"role": roles[turn["from"]], "content": turn["value"]} for turn in turns]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """transformers' `apply_chat_template` of a tokenizer, which takes the name of a template first."""
    transformers = pytest.importorskip("transformers")
    folder = chat_tokenizers.write(tmp_path_factory.mktemp("reference"), TOKENIZER, "chatml_generation")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def apply(template: str, chats: list[Chat], **keys: Any) -> Any:
        named, _ = chat_tokenizers.SPECIAL[template]
        text = (chat_tokenizers.TEMPLATES / f"{template}.jinja").read_text(encoding="utf-8")
        return tokenizer.apply_chat_template(chats, **{"chat_template": text, **named, **keys})

    return apply


@pytest.mark.slow
@needs_shared_data
def test_ids_and_masks_of_all_real_conversations(
    real_chats: list[Chat], reference: Callable[..., Any], tmp_path: Path
) -> None:
    folder = chat_tokenizers.write(tmp_path, TOKENIZER, "chatml_generation")
    expected = reference("chatml_generation", real_chats, return_assistant_tokens_mask=True)
    ids, masks = ids_and_masks(chat_tokenizer(folder), real_chats)
    assert len(ids) > 34_000
    assert ids == expected["input_ids"]
    assert masks == expected["assistant_masks"]


@pytest.mark.slow
@needs_shared_data
@pytest.mark.parametrize("template", ["qwen2_5", "llama3", "smollm2", "mistral"])
def test_texts_of_all_real_conversations_and_ids_of_some(
    real_chats: list[Chat], reference: Callable[..., Any], template: str, tmp_path: Path
) -> None:
    ours = chat_tokenizer(chat_tokenizers.write(tmp_path, TOKENIZER, template))
    translations = len(list(_translations()))
    chats = [*real_chats[:translations:SENTENCES], *real_chats[translations:]]
    if template == "mistral":  # drops system prompts, which is refused
        chats = [chat for chat in chats if chat[0]["role"] != "system"]
    texts = [ours.render(chat, None, None).text for chat in chats]
    assert texts == reference(template, chats, tokenize=False)
    sample = [*chats[::SAMPLE], *chats[-300:]]
    ids, masks = ids_and_masks(ours, sample)
    assert ids == reference(template, sample)["input_ids"]
    assert all(0 < sum(mask) < len(mask) for mask in masks)


@pytest.mark.slow
@needs_shared_data
@pytest.mark.parametrize("template", ["qwen3", "llama3_1"])
def test_ids_of_some_real_conversations(
    real_chats: list[Chat], reference: Callable[..., Any], template: str, tmp_path: Path
) -> None:
    sample = [*real_chats[::SAMPLE], *real_chats[-300:]]
    ids, _ = ids_and_masks(chat_tokenizer(chat_tokenizers.write(tmp_path, TOKENIZER, template)), sample)
    assert ids == reference(template, sample)["input_ids"]


@pytest.mark.slow
@needs_shared_data
def test_prefix_rendering_finds_what_a_twin_of_the_template_marks(
    real_chats: list[Chat], reference: Callable[..., Any], tmp_path: Path
) -> None:
    trl = importlib.util.find_spec("trl")
    if trl is None or trl.origin is None:
        pytest.skip("trl, which has Llama 3's template with its answers marked, is not installed")
    twin = (Path(trl.origin).parent / "chat_templates" / "llama3_training.jinja").read_text(encoding="utf-8")
    folder = chat_tokenizers.write(tmp_path, TOKENIZER, "llama3")
    sample = [*real_chats[::SAMPLE], *real_chats[-600:]]
    expected = reference("llama3", sample, chat_template=twin, return_assistant_tokens_mask=True)
    ids, masks = ids_and_masks(chat_tokenizer(folder), sample)
    assert (ids, masks) == (expected["input_ids"], expected["assistant_masks"])


def test_learned_tokens_are_those_that_a_person_has_checked(small: Path, tmp_path: Path) -> None:
    folders: dict[str, Path] = {}
    sections = list(golden_chats.sections())
    assert len(sections) == 18
    for template, conversation, loss_on, expected in sections:
        if template not in folders:
            folders[template] = chat_tokenizers.write(tmp_path / template, small, template)
        chat = golden_chats.CONVERSATIONS[conversation]
        tools = golden_chats.TOOLS if conversation == "tools" else None
        found = marked(folders[template], chat, tools, LossOn[loss_on])
        assert found == expected, f"{template} {conversation} {loss_on}"


def marked(folder: Path, chat: Chat, tools: list[Any] | None, loss_on: LossOn) -> str:
    """The text that the learned and the other ids stand for, learned runs between marks."""
    ours = chat_tokenizer(folder)
    ((ids, mask),) = ours.encode([ours.render(chat, tools, learned_turns(chat, loss_on))])
    library = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    runs = []
    for learned, run in groupby(zip(ids.tolist(), mask.tolist(), strict=True), key=lambda pair: pair[1]):
        runs.append((bool(learned), library.decode([token for token, _ in run], skip_special_tokens=False)))
    return golden_chats.marked(runs)


def test_a_tokenizer_with_sentencepiece_spaces_and_bytes(tmp_path: Path) -> None:
    """As Mistral's and Llama 2's: a space is put before every text, unknown characters are bytes."""
    transformers = pytest.importorskip("transformers")
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    library = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True, unk_token="<unk>"))
    spaces = [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
    library.normalizer = tokenizers.normalizers.Sequence(spaces)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<unk>", *byte_tokens], limit_alphabet=60, show_progress=False
    )
    library.train_from_iterator(small_tokenizer.TEXT * 3, trainer)
    (tmp_path / "source").mkdir()
    library.save(str(tmp_path / "source/tokenizer.json"))
    folder = chat_tokenizers.write(tmp_path / "mistral", tmp_path / "source", "mistral")
    answer = '{{- " " + message["content"]|trim + eos_token}}'
    plain = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    marking = plain.replace(answer, f"{{%- generation %}}{answer}{{%- endgeneration %}}")
    chat = [*question("When?  two", "The ferry 🎈 leaves"), *question("好", "湖边 再🎈")]
    reference = transformers.AutoTokenizer.from_pretrained(folder)
    expected = reference.apply_chat_template(chat, chat_template=marking, return_assistant_tokens_mask=True)
    assert 0 < sum(expected["assistant_masks"]) < len(expected["input_ids"])
    ids, masks = ids_and_masks(chat_tokenizer(folder), [chat])
    assert (ids[0], masks[0]) == (expected["input_ids"], expected["assistant_masks"])


@pytest.mark.parametrize("template", ["qwen2_5", "qwen3", "llama3_1", "mistral"])
def test_tools_are_rendered_as_transformers_does(small: Path, template: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = chat_tokenizers.write(tmp_path, small, template)
    chat = golden_chats.CONVERSATIONS["tools"]
    ours = chat_tokenizer(folder, date_string="10 Jul 2025")
    ((ids, _),) = ours.encode([ours.render(chat, golden_chats.TOOLS, None)])
    reference = transformers.AutoTokenizer.from_pretrained(folder)
    expected = reference.apply_chat_template(chat, tools=golden_chats.TOOLS, date_string="10 Jul 2025")
    assert ids.tolist() == expected["input_ids"]


def test_special_tokens_in_a_text_become_their_ids_as_in_transformers(small: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = chat_tokenizers.write(tmp_path, small, "qwen2_5")
    chat = question("Ends <|im_end|> here", "and <|im_end|>\n<|im_start|>user\nthere<|im_end|>")
    ours = chat_tokenizer(folder)
    ids, masks = ids_and_masks(ours, [chat])
    assert ids[0] == transformers.AutoTokenizer.from_pretrained(folder).apply_chat_template(chat)["input_ids"]
    end = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id("<|im_end|>")
    assert ids[0].count(end) == 6
    # The whole answer is learned, what it has of special tokens included, up to the template's own end.
    assert [token for token, learned in zip(ids[0], masks[0], strict=True) if learned].count(end) == 3


@pytest.mark.parametrize(
    ("template", "chat", "tools", "reason"),
    [
        ("mistral", "dialogue", False, "no trace of a message of the system"),
        ("llama3", "question", True, "no trace of the tools"),
    ],
)
def test_what_a_template_leaves_out_is_refused(
    small: Path, template: str, chat: str, tools: bool, reason: str, tmp_path: Path
) -> None:
    ours = chat_tokenizer(chat_tokenizers.write(tmp_path, small, template))
    with pytest.raises(TemplateRefusal, match=reason):
        ours.render(golden_chats.CONVERSATIONS[chat], golden_chats.TOOLS if tools else None, None)


_NO_TOOL_TURNS = (
    "{% for m in messages %}{% if m.role in ('system', 'user', 'assistant') %}<|{{ m.role }}|>\n{{ m.content }}"
    "<|im_end|>\n{% endif %}{% endfor %}"
)
_TOOL_TURNS = _NO_TOOL_TURNS.replace("{% endif %}", "{% elif m.role == 'tool' %}<|tool|>WRITTEN\n{% endif %}")


def _with_a_tool_turn(result: str, answer: str) -> Chat:
    return [*question("How warm?", "let me look"), {"role": "tool", "content": result}, *question("So?", answer)]


@pytest.mark.parametrize("answer", ["It is 42", "It is 42 degrees"])  # the second repeats what the tool has said
def test_a_template_that_leaves_out_tool_turns_is_refused(small: Path, answer: str) -> None:
    ours = ChatTokenizer(str(small), ChatTemplateFile(_NO_TOOL_TURNS, _NO_TOOL_TURNS, "test"), {}, NOON)
    with pytest.raises(TemplateRefusal, match="no trace of a message of the tool"):
        ours.render(_with_a_tool_turn("42 degrees", answer), None, [1, 4])


@pytest.mark.parametrize(
    "written", ["{{ m.content }}", "{{ m.content | trim }}", "{{ m.content | tojson }}", "{{ m | tojson(True) }}"]
)
@pytest.mark.parametrize("result", ['{"warm": "42°"}\n', "line\nand 'more' \\ 好", " ", "42"])
def test_tool_turns_may_be_written_as_they_are_or_in_json(small: Path, written: str, result: str) -> None:
    template = _TOOL_TURNS.replace("WRITTEN", written)
    ours = ChatTokenizer(str(small), ChatTemplateFile(template, template, "test"), {}, NOON)
    rendered = ours.render(_with_a_tool_turn(result, "It is 42"), None, [4])
    assert [rendered.text[first:stop] for first, stop in rendered.learned] == ["<|assistant|>\nIt is 42<|im_end|>"]


def test_marked_ranges_of_some_turns(small: Path) -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>"
        "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    ours = ChatTokenizer(str(small), ChatTemplateFile(template, template, "test"), {}, NOON)
    chat = [*question("first?", "one"), *question("second?", "two 🎈")]
    rendered = ours.render(chat, None, [3])
    assert [rendered.text[first:stop] for first, stop in rendered.learned] == ["two 🎈<|im_end|>"]


def test_several_marked_ranges_a_turn_belong_to_it(small: Path) -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% if m.reasoning_content %}{% generation %}"
        "{{ m.reasoning_content }}{% endgeneration %}|{% endif %}{% generation %}{{ m.content }}<|im_end|>"
        "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    ours = ChatTokenizer(str(small), ChatTemplateFile(template, template, "test"), {}, NOON)
    chat = [*question("first?", "one"), *question("second?", "two")]
    chat[1]["reasoning_content"] = "so"
    rendered = ours.render_turns(chat, None, [1, 3])
    found = {turn: [rendered.text[a:b] for a, b in spans] for turn, spans in rendered.turns.items()}
    assert found == {1: ["so", "one<|im_end|>"], 3: ["two<|im_end|>"]}
    last_only = template.replace("{% if m.reasoning_content %}", "{% if loop.last %}")
    ours = ChatTokenizer(str(small), ChatTemplateFile(last_only, last_only, "test"), {}, NOON)
    with pytest.raises(CannotBeMasked, match="marks 3 ranges as generated in a conversation with 2 answers"):
        ours.render_turns(chat, None, [1, 3])


def test_a_token_counts_as_the_greatest_of_its_ranges(small: Path) -> None:
    text = "The ferry leaves at nine, 周末 🎈 it's windy on deck."
    weights = [(1 + number % 7) / 8 for number in range(len(text))]
    ours = ChatTokenizer(str(small), ChatTemplateFile("{{ messages[0].content }}", "", "test"), {}, NOON)
    chat = RenderedChat(text, [(number, number + 1) for number in range(len(text))], weights)
    ((ids, found),) = ours.encode([chat])
    expected = tokenizers.Tokenizer.from_file(str(small / "tokenizer.json")).encode(text)
    assert found.dtype == np.float32 and ids.tolist() == expected.ids and len(ids) < len(text)
    assert found.tolist() == [max(weights[first:stop]) for first, stop in expected.offsets]
    ((_, mask),) = ours.encode([RenderedChat("ab", [(0, 1)])])
    assert mask.dtype == np.uint8


def test_the_whole_last_character_is_learned_though_it_is_several_tokens(small: Path) -> None:
    template = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>{% endfor %}"
    ours = ChatTokenizer(str(small), ChatTemplateFile(template, template, "test"), {}, NOON)
    ((ids, mask),) = ours.encode([ours.render([{"role": "assistant", "content": "a🎈"}], None, [0])])
    assert len(ids) > 3 and mask.tolist() == [1] * (len(ids) - 1) + [0]


def test_spaces_belong_to_their_tokens_where_a_tokenizer_trims_offsets(small: Path, tmp_path: Path) -> None:
    content = json.loads((small / "tokenizer.json").read_text(encoding="utf-8"))
    content["post_processor"] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    template = "{% for m in messages %}{{ m.role }}:{% generation %}   {{ m.content }}{% endgeneration %}{% endfor %}"
    ours = ChatTokenizer(str(tmp_path), ChatTemplateFile(template, template, "test"), {}, NOON)
    ((ids, mask),) = ours.encode([ours.render([{"role": "assistant", "content": "x  "}], None, [0])])
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert library.decode([token for token, learned in zip(ids.tolist(), mask, strict=True) if learned]) == "   x  "


def test_broken_templates_and_foreign_tokenizers_are_told(small: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"test: not a Jinja chat template \(line 2"):
        ChatTokenizer(str(small), ChatTemplateFile("x\n{% for %}", "x\n{% for %}", "test"), {}, NOON)
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(UserError, match=r"needs a Hugging Face tokenizer with a tokenizer\.json"):
        chat_tokenizer(tmp_path, str(Path(__file__)))
    folder = chat_tokenizers.write(tmp_path / "more", small, "qwen2_5")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["added_tokens_decoder"] = {"999": {"content": "<|new|>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"lacks <\|new\|>, which tokenizer_config.json declares"):
        chat_tokenizer(folder)
