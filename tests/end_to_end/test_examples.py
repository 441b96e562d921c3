"""What lies under examples/ can be run: every YAML is planned, every script is linted, pins fit setup.py."""

import contextlib
import importlib.metadata
import io
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
from tests.helpers.qwen2_5 import CONFIGS
from tests.helpers.setup_extras import extras_of_stages
from tools import estimate_memory

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"
PIPELINES = sorted(EXAMPLES.glob("*/pipeline.yaml"))
# Configurations that are run by hand before a pipeline, and the command of each.
BESIDE = {
    EXAMPLES / "qwen2_5_7b" / "mixture.yaml": "optimize-mixture",
    EXAMPLES / "qwen2_5_7b" / "cpt_fp8.yaml": "pretrain",
    EXAMPLES / "qwen2_5_32b" / "cpt.yaml": "pretrain",
    EXAMPLES / "qwen2_5_32b" / "cpt_fp8.yaml": "pretrain",
    EXAMPLES / "qwen2_5_32b" / "sft1.yaml": "sft",
}
CARD = 85.5  # gigabytes of an H100: 80 GiB less what the driver keeps
SCRIPTS = [
    *sorted(EXAMPLES.rglob("*.sh")),
    *(REPOSITORY / name for name in ("tests/run.sh", "tests/transformer_engine.sh", "tools/environment.sh", ".ci/run")),
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


def test_every_yaml_belongs_to_a_pipeline_or_is_planned_by_itself() -> None:
    of_pipelines = {path.parent for path in PIPELINES}
    assert all(path.parent in of_pipelines or path in BESIDE for path in EXAMPLES.rglob("*.yaml"))


def memory_rows(size: str) -> list[tuple[str, int, list[float]]]:
    """The table of a folder's README: file, GPUs, and what the parts take."""
    lines = (EXAMPLES / f"qwen2_5_{size}" / "README.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if ".yaml |" in line]
    return [(row[0], int(row[1]), [float(cell) for cell in row[2:]]) for row in rows]


@pytest.mark.parametrize("size", CONFIGS)
def test_the_memory_of_an_example_is_what_its_page_says_and_fits(size: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS[size]))
    rows = memory_rows(size)
    assert len(rows) >= 3
    for name, gpus, expected in rows:
        file = str(EXAMPLES / f"qwen2_5_{size}" / name)
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            assert estimate_memory.main(["--config", file, "--gpus", str(gpus), "--hf-config", str(tmp_path)]) == 0
        found = [float(line.split()[-2]) for line in output.getvalue().splitlines() if line.endswith(" GB")]
        assert found == expected, name
        assert found[-1] + 4 < CARD


def test_the_estimate_says_what_it_misses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(EXAMPLES / "qwen2_5_7b" / "cpt.yaml")
    assert estimate_memory.main(["--config", file, "--gpus", "8"]) == 2
    assert "Qwen2.5-7B holds no config.json here" in capsys.readouterr().err
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS["7b"]))
    assert estimate_memory.main(["--config", file, "--gpus", "7", "--hf-config", str(tmp_path)]) == 2
    assert "7 GPUs cannot be shared out by 2" in capsys.readouterr().err


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
    of_stages = {Requirement(text).name for texts in extras_of_stages().values() for text in texts}
    assert (plain | of_stages) - of_the_image <= pins.keys()


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
