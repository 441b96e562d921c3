"""examples/quickstart/run.sh, from posts to a report, with a tiny model in the place of the real one."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.helpers import hf_folders

RUN = Path(__file__).parents[2] / "examples" / "quickstart" / "run.sh"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# A tiny model has fewer layers, and a tiny tokenizer makes more tokens of a text.
CHANGES = {
    "cpt": {"training.train_steps": 4},
    "sft1": {"training.train_steps": 3, "data.seq_length": 512},
    "sft2": {"training.train_steps": 2, "data.seq_length": 512},
    "reference": {},
    "dpo": {"training.train_steps": 2, "data.seq_length": 1024},
}
EVEN = {"parallel.num_layers_in_last_pipeline_stage": "null"}
EVALUATED = {
    "held_out": "{path: curated/held_out/social.jsonl, name: social, group: social, max_records: 3}",
    "preferences": "{path: divided/held_out/preferences/pairs.jsonl, name: pairs, max_records: 3}",
    "conversations": "{path: divided/held_out/conversations/content_understanding.jsonl, "
    "capability: content_understanding, max_records: 2, max_new_tokens: 2}",
}


def quickstart(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    changes = [f"{stage}.{key}={value}" for stage, keys in CHANGES.items() for key, value in {**keys, **EVEN}.items()]
    changes += [f"evaluate.{key}=[{source}]" for key, source in EVALUATED.items()]
    options = ["--model", str(folder / "model"), "--work", str(folder / "work"), f"overrides={json.dumps(changes)}"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "REDONE_VENV": "none"}
    return subprocess.run(
        ["bash", str(RUN), *options, *arguments], capture_output=True, text=True, timeout=600, env=environment
    )


def test_from_posts_to_a_report_and_a_second_call_does_nothing(tmp_path: Path) -> None:
    model = hf_folders.write(tmp_path / "model", "qwen2_tied")
    (model / "chat_template.jinja").write_text(TEMPLATE)
    shown = quickstart(tmp_path)
    assert shown.returncode == 0, shown.stdout[-2000:] + shown.stderr[-3000:]
    work = tmp_path / "work"
    assert "19 of 19 stages run" in shown.stderr and str(work / "report" / "report.html") in shown.stdout
    assert "Bits per byte" in shown.stdout
    _shows_held_out_answers(shown.stdout, work)
    assert (work / "exports" / "dpo" / "model.safetensors").is_file()
    evaluated = {
        entry["model"] for entry in json.loads((work / "evaluation" / "evaluation.json").read_text())["metrics"]
    }
    assert evaluated == {"base", "cpt", "sft1", "sft2", "dpo"}
    again = quickstart(tmp_path)
    assert again.returncode == 0 and "nothing to do: all 19 stages are up to date" in again.stderr


def _shows_held_out_answers(shown: str, work: Path) -> None:
    """The first questions of the held-out file, what base and last model said, and what was expected."""
    held_out = (work / "divided" / "held_out" / "conversations" / "content_understanding.jsonl").read_text()
    found = [json.loads(line)["messages"] for line in held_out.splitlines()]
    asked = re.findall(r"^ +question  (.*)$", shown, re.MULTILINE)
    expected = re.findall(r"^ +expected  (.*)$", shown, re.MULTILINE)
    known = {messages[-2]["content"].splitlines()[0][:40] for messages in found}
    assert len(asked) == len(expected) == 2 and {line[:40] for line in asked} <= known
    assert set(expected) <= {messages[-1]["content"] for messages in found}
    for model in ("base", "dpo"):
        assert len(re.findall(rf"^ +{model}  \[(?:right|wrong)\]", shown, re.MULTILINE)) == 2


def test_a_corpus_that_is_not_laid_out_is_told_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "data").mkdir()
    shown = quickstart(tmp_path, "--data", str(tmp_path / "data"))
    assert shown.returncode != 0 and "lacks conversations/content_understanding.jsonl" in shown.stderr
