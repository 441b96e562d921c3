"""The command line as a user meets it; in processes of its own where only those show it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_redone.config.schema import describe_keys
from megatron_redone.config.stage_table import STAGES
from tests.helpers.commands import main

REQUIRED = ["input=a.jsonl", "output_prefix=x", "tokenizer.path=d"]


def redone(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "megatron_redone", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})


def test_help_lists_the_stages_and_imports_nothing_heavy() -> None:
    code = "import sys, megatron_redone.cli as c; c.build_parser().format_help(); print(sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("torch", "numpy", "omegaconf", "tokenizers", "rich"):
        assert f"'{heavy}'" not in modules
    listing = redone("--help")
    assert listing.returncode == 0 and all(stage in listing.stdout for stage in STAGES)


def test_help_lists_exactly_the_stage_table_in_its_order() -> None:
    shown = main("--help")
    stages = shown.stdout.partition("\nstages:\n")[2].partition("\n\n")[0]
    assert shown.returncode == 0 and shown.stderr == ""
    assert re.findall(r"^ {4}([a-z][\w-]*)", stages, re.MULTILINE) == list(STAGES)
    assert all(stage.summary in " ".join(stages.split()) for stage in STAGES.values())


@pytest.mark.parametrize("stage", STAGES)
def test_stage_help_lists_every_key(stage: str) -> None:
    shown = main(stage, "--help")
    assert shown.returncode == 0
    for row in describe_keys(STAGES[stage].config_class()):
        assert f"  {row.name}  (" in shown.stdout and row.help and row.help in shown.stdout


def test_dry_run_prints_the_resolved_configuration_and_reads_nothing(tmp_path: Path) -> None:
    shown = redone("tokenize", *REQUIRED, "--dry-run", "workers=3")
    assert shown.returncode == 0 and "workers: 3" in shown.stdout
    file = tmp_path / "again.yaml"
    file.write_text(shown.stdout)
    assert redone("tokenize", "--config", str(file), "--dry-run").stdout == shown.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tokenize", "tokenizer.pth=d"], "tokenizer.pth: unknown key; did you mean 'path'?"),
        (["tokenize"], "required keys are missing: input, output_prefix, tokenizer.path"),
        (["tokenize", "--config", "none.yaml"], "none.yaml: no such configuration file"),
        (["tokenize", "--frobnicate", *REQUIRED], "--frobnicate: unknown option"),
        (["tokenize", *REQUIRED], "a.jsonl: no such file or directory"),
    ],
)
def test_mistakes_exit_with_2_and_one_line(arguments: list[str], message: str) -> None:
    shown = redone(*arguments)
    assert shown.returncode == 2
    assert message in shown.stderr and shown.stderr.count("\n") == 1


def test_completion_of_stages_and_keys(tmp_path: Path) -> None:
    pytest.importorskip("argcomplete")
    script = Path(sys.executable).parent / "redone"
    for line, expected in {"redone tok": "tokenize", "redone tokenize tokenizer.pa": "tokenizer.path="}.items():
        out = tmp_path / "out"
        variables = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n",
                     "_ARGCOMPLETE_STDOUT_FILENAME": str(out), "COMP_WORDBREAKS": " "}  # fmt: skip
        subprocess.run([str(script)], env={**os.environ, **variables}, timeout=60, capture_output=True)
        assert expected in out.read_text()


def test_a_reader_that_leaves_is_no_error_but_another_broken_pipe_is() -> None:
    code = "import sys; from megatron_redone.cli import guarded; sys.exit(guarded('x', lambda: {}))"
    printing = code.format("[print('y' * 100) for _ in range(100000)]")
    left = subprocess.run(
        f'{sys.executable} -c "{printing}" | head -1; exit ${{PIPESTATUS[0]}}', shell=True, executable="/bin/bash",
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert left.returncode == 0 and left.stderr == ""
    raising = code.format("(_ for _ in ()).throw(BrokenPipeError('inner'))")
    broken = subprocess.run([sys.executable, "-c", raising], capture_output=True, text=True, timeout=60)
    assert broken.returncode == 1 and "BrokenPipeError: inner" in broken.stderr


@pytest.mark.parametrize("arguments", ["--help", "sft --help", "dpo --help", "doctor --dry-run"])
def test_a_page_that_nobody_reads_on_is_no_error(arguments: str) -> None:
    redone = f"{sys.executable} -m megatron_redone {arguments}"
    command = f"{redone} | true; exit ${{PIPESTATUS[0]}}"
    left = subprocess.run(command, shell=True, executable="/bin/bash", capture_output=True, text=True, timeout=60)
    assert (left.returncode, left.stderr) == (0, "")


@pytest.mark.slow
def test_an_engine_that_does_not_import_is_told_in_a_line(tmp_path: Path) -> None:
    package = tmp_path / "transformer_engine"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('libcudart.so.13: cannot open')")
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    keys = ["output_dir=x", "init_from=y", "data.blend=[{path: z}]", "data.seq_length=8", "training.train_steps=1"]
    done = redone("pretrain", *keys, "training.global_batch_size=1", PYTHONPATH=paths)
    # A torch that was built for CUDA warns where there is none.
    said = [line for line in done.stderr.splitlines() if "No CUDA runtime is found" not in line]
    assert done.returncode == 2 and len(said) == 1
    assert "its import fails (libcudart.so.13: cannot open); install it for this torch" in done.stderr
