"""A chat template of one's own goes through prepare-sft, sft, dpo and export-hf, and ends in the export."""

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from megatron_redone.formats.conversations import ConversationDataset
from megatron_redone.formats.preferences import CHOSEN, PreferenceDataset
from tests.clients import tokenizers_of_families
from tests.helpers import commands, hf_folders
from tests.helpers.pretrain_runs import command_line
from tests.helpers.ranks import run_on_ranks

pytestmark = pytest.mark.distributed

BASE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
MINE = (
    "{% for m in messages %}<|im_start|>{{ 'QUESTION' if m.role == 'user' else 'ANSWER' }}{{ mark }}\n"
    "{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>ANSWER{{ mark }}\n"
    "{% endif %}"
)
CHATS = [
    [{"role": "user", "content": f"ferry {n}?"}, {"role": "assistant", "content": f"at {n} past nine"}]
    for n in range(6)
]
LATE = {"role": "assistant", "content": "too late"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a template, a named one and a processor's file, and chats and pairs."""
    folder = tmp_path_factory.mktemp("carried")
    model = hf_folders.write(folder / "model", "qwen2_tied")
    # transformers 5 splits every qwen2's texts as Qwen2's own tokenizer does.
    for file in tokenizers_of_families.write(folder / "tokenizer", "qwen2").iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    (model / "chat_template.jinja").write_text(BASE)
    (model / "additional_chat_templates").mkdir()
    (model / "additional_chat_templates/tool_use.jinja").write_text("of the base model")
    (model / "additional_chat_templates/rag.jinja").write_text("with documents")
    (model / "processor_config.json").write_text('{"processor_class": "Some"}')
    (folder / "mine.jinja").write_text(MINE)
    write_lines(folder / "chats.jsonl", [{"messages": chat} for chat in CHATS])
    pairs = [{"prompt": chat[:1], "chosen": chat[1:], "rejected": [LATE]} for chat in CHATS]
    write_lines(folder / "pairs.jsonl", pairs)
    return folder


def write_lines(file: Path, records: list[Any]) -> None:
    file.write_text("".join(json.dumps(record) + "\n" for record in records))


def prepare(folder: Path, stage: str, name: str, *keys: str) -> Path:
    """A dataset of a name, by a template of one's own."""
    source = {"name": name, "input": str(folder / ("chats.jsonl" if stage == "prepare-sft" else "pairs.jsonl"))}
    given = [f"sources={json.dumps([source])}", f"output_dir={folder}/{name}", f"tokenizer.path={folder}/model"]
    done = commands.main(stage, *given, *(keys or (f"chat_template={folder}/mine.jinja", "template_variables.mark=_a")))
    assert done.returncode == 0, done.stderr
    return folder / name / name


def train(stage: str, model: Path, output: Path, blend: list[Path], *keys: str) -> tuple[int | str | None, str]:
    sources = json.dumps([{"path": str(prefix)} for prefix in blend])
    common = ["device=cpu", "model.precision=fp32", "data.seq_length=96", "training.global_batch_size=2"]
    common += [f"init_from={model}", f"output_dir={output}", f"data.blend={sources}", "training.train_steps=2"]
    return run_on_ranks(1, command_line, [stage, *common, *keys])[0]


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    """The run of sft."""
    code, said = train("sft", folder / "model", folder / "sft", [prepare(folder, "prepare-sft", "chats")])
    assert code == 0, said
    assert "the data was prepared with another than the model's" in said
    return folder / "sft"


def export(run: Path, output: Path, *keys: str) -> Any:
    """The tokenizer of an export, by transformers, and what was said."""
    done = commands.main("export-hf", f"checkpoint={run}", f"output={output}", *keys)
    assert done.returncode == 0, done.stderr
    return transformers.AutoTokenizer.from_pretrained(output), done.stderr


def test_what_was_trained_is_what_the_export_renders(folder: Path, trained: Path, tmp_path: Path) -> None:
    pairs = prepare(folder, "prepare-preferences", "pairs")
    code, said = train("dpo", trained, folder / "dpo", [pairs], "loss.loss=simpo")
    assert code == 0 and "another than the model's" not in said, said
    chats, dataset = ConversationDataset.open(folder / "chats/chats"), PreferenceDataset.open(pairs)
    for run in (trained, folder / "dpo"):
        theirs, _ = export(run, tmp_path / run.name)
        for number, chat in enumerate(CHATS):
            ids = theirs.apply_chat_template(chat, return_dict=False)
            assert ids == chats.tokens(number).tolist() == dataset.tokens(number, CHOSEN).tolist()
            prompt = theirs.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
            assert prompt == f"<|im_start|>QUESTION_a\nferry {number}?<|im_end|>\n<|im_start|>ANSWER_a\n"
        # The template's end of a turn ends an answer; those of the base model stay.
        ends = json.loads((tmp_path / run.name / "generation_config.json").read_text())["eos_token_id"]
        assert ends == [2, 5, theirs.convert_tokens_to_ids("<|im_end|>")]
        # tool_use is of the base model's template, and no conversation was prepared with it; the rest travels.
        assert sorted(theirs.chat_template) == ["default", "rag"] and theirs.chat_template["rag"] == "with documents"
        assert (tmp_path / run.name / "processor_config.json").read_bytes() == (
            folder / "model/processor_config.json"
        ).read_bytes()


def test_a_later_stage_with_another_template_is_told(folder: Path, trained: Path, tmp_path: Path) -> None:
    pairs = prepare(folder, "prepare-preferences", "base_pairs", "chat_template=null")
    code, said = train("dpo", trained, tmp_path / "dpo", [pairs], "loss.loss=simpo")
    assert code == 0 and "the data was prepared with another than the model's" in said, said
    theirs, _ = export(tmp_path / "dpo", tmp_path / "out")
    assert theirs.chat_template["default"] == BASE


def test_another_template_by_hf_config_is_told(folder: Path, trained: Path, tmp_path: Path) -> None:
    theirs, said = export(trained, tmp_path / "out", f"hf_config={folder}/model")
    assert theirs.chat_template["default"] == BASE
    assert "hf_config: its chat template is another than the one that the run's data was prepared with" in said


def test_different_templates_are_refused_unless_one_is_chosen(folder: Path, tmp_path: Path) -> None:
    mine = prepare(folder, "prepare-sft", "mine")
    other = prepare(folder, "prepare-sft", "other", f"chat_template={folder}/mine.jinja", "template_variables.mark=_b")
    model, blend = folder / "model", [mine, other]
    code, said = train("sft", model, tmp_path / "run", blend)
    assert code == 2 and "'mine' and 'other' were prepared with different chat templates" in said
    assert not (tmp_path / "run/checkpoints").exists() or not list((tmp_path / "run/checkpoints").glob("step*"))
    code, said = train("sft", model, tmp_path / "run", blend, "data.chat_template_of=third")
    assert code == 2 and "no source is called 'third'; they are mine, other, and 'model'" in said
    for chosen, expected in (("other", "<|im_start|>ANSWER_b\nx<|im_end|>\n"), ("model", None)):
        code, said = train("sft", model, tmp_path / chosen, blend, f"data.chat_template_of={chosen}")
        assert code == 0, said
        theirs, _ = export(tmp_path / chosen, tmp_path / f"{chosen}_out")
        answer = [{"role": "assistant", "content": "x"}]
        rendered = expected or "<|im_start|>assistant\nx<|im_end|>\n"
        assert theirs.apply_chat_template(answer, tokenize=False) == rendered
