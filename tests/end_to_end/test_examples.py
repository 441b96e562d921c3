"""What lies under examples/ can be run: every YAML is planned, every script is linted, pins fit setup.py."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.helpers import commands

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"
PIPELINES = sorted(EXAMPLES.glob("*/pipeline.yaml"))
# Configurations that are run by hand before a pipeline, and the command of each.
BESIDE = {EXAMPLES / "qwen2_5_7b" / "mixture.yaml": "optimize-mixture"}
SCRIPTS = [
    *sorted(EXAMPLES.rglob("*.sh")),
    *(REPOSITORY / name for name in ("tests/run.sh", "tools/environment.sh", ".ci/run")),
]


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda path: path.parent.name)
def test_every_file_of_a_pipeline_passes_its_dry_run(pipeline: Path, tmp_path: Path) -> None:
    shown = commands.redone("pipeline", "--config", str(pipeline), "--dry-run", f"work_dir={tmp_path}")
    assert shown.returncode == 0, shown.stderr
    stages = yaml.safe_load(pipeline.read_text())["stages"]
    assert f"{len(stages)} of {len(stages)} stages would run" in shown.stdout
    named = {stage["config"] for stage in stages} | {"pipeline.yaml"}
    assert named == {path.name for path in pipeline.parent.glob("*.yaml") if path not in BESIDE}


@pytest.mark.parametrize("config", BESIDE, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_file_beside_a_pipeline_passes_its_dry_run(config: Path) -> None:
    shown = commands.redone(BESIDE[config], "--config", str(config), "--dry-run")
    assert shown.returncode == 0, shown.stderr


def test_every_yaml_belongs_to_a_pipeline() -> None:
    assert {path.parent for path in EXAMPLES.rglob("*.yaml")} == {path.parent for path in PIPELINES}


@pytest.mark.parametrize("stage", ["sft1", "sft2", "dpo"])
def test_the_recipe_and_the_quickstart_have_the_same_chain(stage: str) -> None:
    origins = [yaml.safe_load((EXAMPLES / name / f"{stage}.yaml").read_text())["init_from"].removesuffix("/best")
               for name in ("quickstart", "qwen2_5_7b")]  # fmt: skip
    assert origins[0] == origins[1]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_pass_shellcheck(script: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    command = ["shellcheck", "--external-sources", "--source-path", str(REPOSITORY), "--source-path", "SCRIPTDIR"]
    shown = subprocess.run([*command, str(script)], capture_output=True, text=True, cwd=REPOSITORY)
    assert shown.returncode == 0, shown.stdout


def test_the_dockerfile_passes_hadolint() -> None:
    if shutil.which("hadolint") is None:
        pytest.skip("hadolint is not installed")
    shown = subprocess.run(["hadolint", str(REPOSITORY / "Dockerfile")], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stdout


def requirements() -> dict[str, list[Requirement]]:
    """What setup.py asks for, by name, in all its lists."""
    found: dict[str, list[Requirement]] = {}
    with open(REPOSITORY / "setup.py", "rb") as stream:
        strings = [token.string for token in tokenize.tokenize(stream.readline) if token.type == tokenize.STRING]
    for text in strings:
        match = re.fullmatch(r"\"([\w.-]+(\[\w+\])?[<>=!~][^\"]*)\"", text)
        if match is not None and not text.startswith('">='):
            requirement = Requirement(match[1])
            found.setdefault(requirement.name.lower(), []).append(requirement)
    return found


def test_the_dockerfile_pins_what_setup_asks_for() -> None:
    pins = dict(re.findall(r'"([\w.-]+)==([\w.]+)"', (REPOSITORY / "Dockerfile").read_text()))
    asked = requirements()
    for name, version in pins.items():
        assert all(requirement.specifier.contains(version) for requirement in asked[name]), name
    needed = importlib.metadata.requires("megatron_redone") or []
    plain = {Requirement(line).name.lower() for line in needed if "extra ==" not in line}
    of_the_image = {"torch", "numpy"}
    assert plain - of_the_image <= pins.keys()


def test_dividing_leaves_no_question_on_both_sides(tmp_path: Path) -> None:
    script, data = EXAMPLES / "quickstart" / "divide_data.py", EXAMPLES / "quickstart" / "data"
    command = [sys.executable, str(script), "--data", str(data), "--to", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)

    def read(path: Path) -> list[dict]:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    for file in sorted([*data.glob("conversations/*.jsonl"), *data.glob("preferences/*.jsonl")]):
        name = file.relative_to(data)
        sides = [read(tmp_path / side / name) for side in ("train", "held_out")]
        asked = [{json.dumps(r.get("prompt") or r["messages"][:-1]) for r in side} for side in sides]
        assert sides[1] and not asked[0] & asked[1]
        assert sorted(r["id"] for side in sides for r in side) == sorted(r["id"] for r in read(file))
    trained = {r["id"] for path in (tmp_path / "train/conversations").glob("*") for r in read(path)}
    questions = read(tmp_path / "train" / "questions.jsonl")
    assert len(questions) >= 20 and {question["id"] for question in questions} <= trained
    assert all(question["answer"] in question["candidates"] for question in questions)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jsonl")}
    subprocess.run(command, check=True, capture_output=True)
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jsonl")}


def test_dividing_many_pairs_prefers_short_ones(tmp_path: Path) -> None:
    """And takes long ones, rather than none, where there are no others."""
    script, data = EXAMPLES / "quickstart" / "divide_data.py", tmp_path / "data"
    shutil.copytree(EXAMPLES / "quickstart" / "data", data)

    def pairs(short: int, long: int) -> tuple[list[dict], list[dict]]:
        records = [{"id": f"{i}", "prompt": [{"role": "user", "content": f"{i}?"}],
                    "chosen": [{"role": "assistant", "content": "海" * (100 if i < short else 200)}],
                    "rejected": [{"role": "assistant", "content": "no"}]} for i in range(short + long)]  # fmt: skip
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
        (data / "preferences" / "pairs.jsonl").write_text("\n".join(lines), encoding="utf-8")
        command = [sys.executable, str(script), "--data", str(data), "--to", str(tmp_path / "to")]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        sides = [[json.loads(line) for line in (tmp_path / "to" / side / "preferences" / "pairs.jsonl").open("rb")]
                 for side in ("train", "held_out")]  # fmt: skip
        left_out = short + long - sum(map(len, sides))
        assert f"preferences/pairs.jsonl: 64 to learn from, 40 held out, {left_out:,} left out" in said
        return sides[0], sides[1]

    for side in pairs(short=300, long=300):
        assert all(int(record["id"]) < 300 for record in side)
    assert any(int(record["id"]) >= 40 for record in pairs(short=40, long=400)[0])
