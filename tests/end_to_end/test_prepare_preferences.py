"""`redone prepare-preferences` as a user runs it, and its tokens against transformers."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

from megatron_redone.formats.deep_check import problems
from megatron_redone.formats.indexed import IndexedDataset
from megatron_redone.formats.preferences import CHOSEN, REJECTED, PreferenceDataset
from tests.helpers import chat_tokenizers, commands, small_tokenizer
from tests.helpers.shared_data import FOLDER, TOKENIZER, needs_shared_data


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    return chat_tokenizers.write(folder / "mistral", small_tokenizer.train(folder / "small"), "mistral")


def run(output: Path, tokenizer: Path, sources: list[dict[str, Any]], *keys: str) -> "subprocess.CompletedProcess[str]":
    given = [f"sources={json.dumps(sources)}", f"output_dir={output}", f"tokenizer.path={tokenizer}"]
    return commands.redone("prepare-preferences", *given, *keys)


def write_lines(path: Path, records: list[Any]) -> str:
    lines = [record if isinstance(record, str) else json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return str(path)


def texts(tokenizer: Path, prefix: Path) -> list[list[tuple[str, str]]]:
    """Of both sides of every pair the prompt and what is learned."""
    library = tokenizers.Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    dataset = PreferenceDataset.open(prefix)

    def side(pair: int, which: int) -> tuple[str, str]:
        ids, mask = dataset.tokens(pair, which), dataset.loss_mask(pair, which)
        parts = (ids[mask == 0].tolist(), ids[mask == 1].tolist())
        prompt, learned = (library.decode(part, skip_special_tokens=False) for part in parts)
        return prompt, learned

    return [[side(pair, CHOSEN), side(pair, REJECTED)] for pair in range(dataset.pairs)]


def pair(prompt: str, chosen: str, rejected: str, *rewards: float) -> dict[str, Any]:
    keys = dict(zip(("chosen_reward", "rejected_reward"), rewards, strict=bool(rewards)))
    return {"prompt": prompt, "chosen_response": chosen, "rejected_response": rejected, **keys}


def test_pairs_of_two_formats_become_masked_sequences(tmp_path: Path, tokenizer: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    answers = [[{"role": "assistant", "content": text}] for text in ("Yes 🎈", "No")]
    trl = {"prompt": turns, "chosen": answers[0], "rejected": answers[1]}
    sources = [
        {"name": "nemo", "input": write_lines(tmp_path / "a.jsonl", [pair("Why?", "So.", "No.", 3, -1.5)])},
        {"name": "trl", "input": write_lines(tmp_path / "b.jsonl", [trl]), "capability": "dialogue_persona"},
    ]
    done = run(tmp_path / "out", tokenizer, sources)
    assert done.returncode == 0, done.stderr
    assert texts(tokenizer, tmp_path / "out/nemo") == [
        [("<s>[INST] Why?[/INST]", " So.</s>"), ("<s>[INST] Why?[/INST]", " No.</s>")]
    ]
    # The answer before the last question is a part of the prompt.
    prompt = "<s>[INST] a[/INST] b</s>[INST] c[/INST]"
    assert texts(tokenizer, tmp_path / "out/trl") == [[(prompt, " Yes 🎈</s>"), (prompt, " No</s>")]]
    nemo, other = (PreferenceDataset.open(tmp_path / f"out/{name}") for name in ("nemo", "trl"))
    assert nemo.rewards is not None and nemo.rewards.tolist() == [[3.0, -1.5]] and other.rewards is None
    assert nemo.manifest["record_formats"] == {"nemo": 1} and other.manifest["capability"] == "dialogue_persona"
    assert list(problems(IndexedDataset(tmp_path / "out/nemo"))) == []
    again = run(tmp_path / "out", tokenizer, sources)
    assert "complete already, nothing to do" in again.stderr


def test_bad_pairs_are_put_aside_with_line_and_reason(tmp_path: Path, tokenizer: Path) -> None:
    bad = [
        (pair("Why?", "So.", "So. "), "chosen and rejected are the same"),
        (pair("Why?", "So.", ""), "'rejected_response' is empty"),
        (pair("Why?", "So.", "No.", 1, 1), "a tie: both rewards are equal"),
        ("{", "malformed JSON"),
        (pair("Why?", "So.", "No.", 1, 2), "the rejected response has the higher reward"),
    ]
    records = [pair("Why?", "So.", "No.", 2, 1), *(record for record, _ in bad)]
    sources = [{"name": "x", "input": write_lines(tmp_path / "a.jsonl", records)}]
    done = run(tmp_path / "out", tokenizer, sources, "max_invalid=1")
    assert done.returncode == 0, done.stderr
    listed = [json.loads(line) for line in (tmp_path / "out/x.invalid.jsonl").read_text().splitlines()]
    assert [(entry["place"], entry["reason"]) for entry in listed] == [(n, why) for n, (_, why) in enumerate(bad, 2)]
    counts = PreferenceDataset.open(tmp_path / "out/x").manifest["counts"]
    assert (counts["pairs"], counts["records"], counts["invalid"]) == (1, 6, 5)


def test_prompts_that_are_not_the_same_tokens_are_refused(tmp_path: Path) -> None:
    """A template without a special token before the answer: prompt and response can become one token."""
    folder = small_tokenizer.train(tmp_path / "tokenizer")
    template = "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}<|im_end|>{% endif %}{% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    records = [pair("go to th", "e", "ird"), pair("Why? ", "<|im_start|>So", "<|im_start|>No")]
    sources = [{"name": "x", "input": write_lines(tmp_path / "a.jsonl", records)}]
    done = run(tmp_path / "out", folder, sources, "max_invalid=1")
    assert done.returncode == 0, done.stderr
    listed = [json.loads(line) for line in (tmp_path / "out/x.invalid.jsonl").read_text().splitlines()]
    assert [(entry["place"], entry["reason"]) for entry in listed] == [
        (1, "the two do not share the tokens of their prompt")
    ]


def test_all_pairs_of_a_prompt_are_held_out_together(tmp_path: Path, tokenizer: Path) -> None:
    records = [pair(f"question {n % 30}", f"yes {n}", f"no {n}", n + 1, n) for n in range(120)]
    source = {"name": "x", "input": write_lines(tmp_path / "a.jsonl", records), "validation_count": 5}
    assert run(tmp_path / "out", tokenizer, [source]).returncode == 0
    sides = {name: texts(tokenizer, tmp_path / f"out/{name}") for name in ("x", "x.validation")}
    prompts = {name: {chosen[0] for chosen, _ in found} for name, found in sides.items()}
    assert not prompts["x"] & prompts["x.validation"]
    assert (len(sides["x"]), len(sides["x.validation"]), len(prompts["x.validation"])) == (100, 20, 5)
    for name in sides:  # the rewards went with their pairs
        rewards = PreferenceDataset.open(tmp_path / f"out/{name}").rewards
        numbers = [int(chosen[1].split()[1].removesuffix("</s>")) for chosen, _ in sides[name]]
        assert rewards is not None and rewards[:, 1].tolist() == numbers


def test_nemo_rls_pairs_are_read_and_advice_names_keys_that_exist(tmp_path: Path, tokenizer: Path) -> None:
    ranked = [
        {"rank": n, "completion": [{"role": "assistant", "content": text}]} for n, text in enumerate(("yes", "no"))
    ]
    record = {"context": [{"role": "user", "content": "open?"}], "completions": ranked}
    done = run(tmp_path / "out", tokenizer, [{"name": "x", "input": write_lines(tmp_path / "a.jsonl", [record])}])
    assert done.returncode == 0, done.stderr
    assert texts(tokenizer, tmp_path / "out/x") == [
        [("<s>[INST] open?[/INST]", " yes</s>"), ("<s>[INST] open?[/INST]", " no</s>")]
    ]
    unknown = write_lines(tmp_path / "b.jsonl", [{"q": "open?", "good": "yes", "bad": "no"}])
    done = run(tmp_path / "other", tokenizer, [{"name": "x", "input": unknown}])
    assert done.returncode == 2 and done.stderr.rstrip().endswith("(keys: q, good, bad); set the source's format")


@needs_shared_data
def test_the_real_files_have_the_ids_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sources = [
        {"name": name, "input": str(FOLDER / "dpo" / file)}
        for name, file in [
            ("en", "dpo_en_demo.json"),
            ("zh", "dpo_zh_demo.json"),
            ("hh", "hh_rlhf_harmless_a.jsonl"),
        ]
    ]
    done = run(tmp_path / "out", TOKENIZER, sources)
    assert done.returncode == 0, done.stderr
    datasets = {source["name"]: PreferenceDataset.open(tmp_path / "out" / source["name"]) for source in sources}
    assert {name: dataset.pairs for name, dataset in datasets.items()} == {"en": 300, "zh": 300, "hh": 1152}
    reference = transformers.AutoTokenizer.from_pretrained(TOKENIZER)
    roles = {"human": "user", "gpt": "assistant", "system": "system"}
    for name, file in (("en", "dpo_en_demo.json"), ("zh", "dpo_zh_demo.json")):
        records = json.loads((FOLDER / "dpo" / file).read_text(encoding="utf-8"))[::10]
        for side, key in ((CHOSEN, "chosen"), (REJECTED, "rejected")):
            chats = [
                [
                    {"role": roles[turn["from"]], "content": turn["value"]}
                    for turn in [*record["conversations"], record[key]]
                ]
                for record in records
            ]
            whole = reference.apply_chat_template(chats)["input_ids"]
            prompts = reference.apply_chat_template([chat[:-1] for chat in chats], add_generation_prompt=True)
            for i, (ids, prompt) in enumerate(zip(whole, prompts["input_ids"], strict=True)):
                assert datasets[name].tokens(10 * i, side).tolist() == ids
                # All but the prompt and the line break after the end of the turn.
                expected = np.arange(len(ids)) >= len(prompt)
                expected[-1] = False
                assert datasets[name].loss_mask(10 * i, side).tolist() == expected.tolist()
