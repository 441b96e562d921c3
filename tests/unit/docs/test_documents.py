"""What the documents name is there: links, paths, keys, sub-commands, functions, messages."""

import ast
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from megatron_redone.config.estimate_online import EstimateOnlineConfig
from megatron_redone.config.evaluate import EvaluateConfig
from megatron_redone.config.loader import load_config
from megatron_redone.config.pretrain import PretrainConfig
from megatron_redone.config.schema import describe_keys
from megatron_redone.config.stage_table import STAGES
from megatron_redone.curation.posts import parse_post
from megatron_redone.evaluation.exposure_log import read_exposure_log
from megatron_redone.evaluation.search_log import read_search_log
from megatron_redone.formats.inputs import expand_inputs

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "megatron_redone"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]
README_WORDS = 1000

# Keys of other tools, which the table for people who come from them names.
FOREIGN_KEYS = {"model.dpo", "model.global_batch_size", "model.encoder_seq_length", "model.data.data_prefix"}
# What a run leaves, or the reader's own files: no part of the repository.
FOREIGN_PATHS = ("data/", "runs/", "work/", "exports/", "logs/", "report/report.html", "examples/quickstart/work")
ENDINGS = (".py", ".sh", ".md", ".yaml", ".json", ".jsonl", ".html", ".toml", ".png")

in_every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def code_of(document: Path) -> Iterator[str]:
    """Blocks and spans of code."""
    text = document.read_text(encoding="utf-8")
    yield from re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


@cache
def keys_of(stage: str) -> frozenset[str]:
    """A stage's keys, and the sections that they stand in."""
    names = [row.name.replace("[]", "") for row in describe_keys(STAGES[stage].config_class())]
    sections = [name.rsplit(".", depth)[0] for name in names for depth in range(1, name.count(".") + 1)]
    return frozenset([*names, *sections])


@cache
def all_keys() -> frozenset[str]:
    return frozenset().union(*map(keys_of, STAGES))


def unknown_keys(code: str) -> list[str]:
    """Dotted names that begin like a section of some stage and are none of its keys."""
    keys = all_keys()
    sections = {key.split(".")[0] for key in keys if "." in key}
    dotted = re.findall(r"(?<![\w./])[a-z_]\w*(?:\.[a-z_]\w*)+(?![\w/(])", code)
    found = [name for name in dotted if name.split(".")[0] in sections and not name.endswith(ENDINGS)]
    return [name for name in found if name not in keys and name not in FOREIGN_KEYS]


def unknown_overrides(code: str) -> list[str]:
    """`key=` after a sub-command that has no such key."""
    found = []
    for command in re.findall(r"(?:redone|-m megatron_redone) ([a-z][a-z-]* .*)", code.replace("\\\n", " ")):
        stage, *words = command.split()
        names = [word.split("=")[0] for word in words if re.match(r"[a-z_.]+=", word)]
        found += [f"{stage} {name}" for name in names if stage in STAGES and name not in keys_of(stage)]
    return found


def unknown_stages(code: str) -> list[str]:
    names = re.findall(r"(?:^|[\s'\"])(?:redone|-m megatron_redone) ([a-z][a-z-]+)", code, re.MULTILINE)
    return [name for name in names if name not in STAGES]


def missing_paths(code: str) -> list[str]:
    """Paths into the repository, from its root or from the package, at which nothing lies."""
    tops = {path.name for path in ROOT.iterdir()} | {path.name for path in PACKAGE.iterdir()}
    words = re.findall(r"(?<![\w./-])[\w.-]+(?:/[\w.-]*)+", code)
    paths = [word.rstrip(".") for word in words if word.split("/")[0] in tops and not word.startswith(FOREIGN_PATHS)]
    plain = [path for path in paths if not re.search(r"[A-Z]{3}", path)]  # NAME, MODULE: the reader's to fill in
    return [path for path in plain if not any((base / path).exists() for base in (ROOT, PACKAGE))]


def missing_definitions(code: str) -> list[str]:
    """`folder/module.py:name`, or `...:Class.method`, which the module does not define."""
    references = re.findall(r"([\w/]+\.py):([A-Za-z_][\w.]*)", code)
    return [f"{file}:{name}" for file, name in references if name not in definitions(file)]


@cache
def definitions(file: str) -> frozenset[str]:
    path = next((base / file for base in (PACKAGE, ROOT) if (base / file).is_file()), None)
    return frozenset(_defined(ast.parse(path.read_text(encoding="utf-8")).body)) if path else frozenset()


def _defined(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from _defined(node.body, f"{node.name}.")
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        yield from (prefix + target.id for target in targets if isinstance(target, ast.Name))


def messages() -> list[str]:
    """Every text in the package's code, `{}` in the place of a value."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(getattr(part, "value", "")) if isinstance(part, ast.Constant) else "{}"
                                     for part in node.values))  # fmt: skip
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def missing_messages(quoted: list[str], said: list[str]) -> list[str]:
    """Quotations of which a part between placeholders (`N`, `A`, `...`) stands nowhere in the code."""
    parts = {quotation: re.split(r"\s*(?:\b[A-Z]\b|\.\.\.)\s*", quotation) for quotation in quoted}
    return [quotation for quotation, those in parts.items()
            if not all(any(part in text for text in said) for part in those if part)]  # fmt: skip


def test_the_front_door_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= README_WORDS


def levels() -> list[list[str]]:
    """The levels of the import contract, highest first; packages and modules by their names."""
    (block,) = re.findall(r"^layers = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    return [re.findall(r"megatron_redone\.(\w+)", line) for line in block.splitlines()]


def test_the_levels_are_those_of_the_import_contract() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^## Levels\n.*?^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    shown = [re.findall(r"(\w+)(?:\.py)?", re.split(r"  +", line)[0].replace(".py", "")) for line in block.splitlines()]
    assert [sorted(level) for level in shown] == [sorted(level) for level in levels()]


def test_the_tree_names_every_package_above_those_that_it_imports() -> None:
    shown = re.findall(r"^  (\w+)(?:/|\.py) ", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert set(shown) - {"cli", "errors"} == packages
    height = {name: number for number, level in enumerate(levels()) for name in level}
    assert shown == sorted(shown, key=height.__getitem__)


@in_every_document
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8"))
    relative = [link for link in links if "://" not in link]
    assert [link for link in relative if not (document.parent / link).exists()] == []


@in_every_document
@pytest.mark.parametrize(
    "wrong", [unknown_keys, unknown_overrides, unknown_stages, missing_paths, missing_definitions]
)  # fmt: skip
def test_code_names_what_is_there(document: Path, wrong: Callable[[str], list[str]]) -> None:
    assert [name for code in code_of(document) for name in wrong(code)] == []


def test_the_configurations_that_are_shown_resolve(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/stages.md").read_text(encoding="utf-8"), re.DOTALL)
    for block, schema in zip(blocks, (PretrainConfig, EvaluateConfig, EstimateOnlineConfig), strict=True):
        (tmp_path / "shown.yaml").write_text(block)
        load_config(schema, str(tmp_path / "shown.yaml"), [])


def test_the_records_that_are_shown_are_read(tmp_path: Path) -> None:
    text = (ROOT / "docs/records.md").read_text(encoding="utf-8")
    shown, *blocks = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    post = parse_post(json.loads(shown))
    del post.letters  # which are given later
    assert all(vars(post).values()) and all(vars(post.comments[0]).values())  # every key is read
    for block, read in zip(blocks, (read_search_log, read_search_log, read_exposure_log), strict=True):
        (tmp_path / "shown.jsonl").write_text(block.replace("\n", " ") + "\n")
        found = read(expand_inputs([str(tmp_path / "shown.jsonl")]))
        assert (found.records, found.invalid) == (1, [])


def test_messages_are_those_of_the_code() -> None:
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    quoted = [quotation for row in rows for quotation in re.findall(r"`([^`]+)`", row)]
    assert len(quoted) > 15 and missing_messages(quoted, messages()) == []


def test_what_is_not_there_is_found() -> None:
    """The searches themselves can fail."""
    assert unknown_keys("optimizer.lrr=1") == ["optimizer.lrr"] and not unknown_keys("optimizer.lr=1, `tools/x.py`")
    assert unknown_overrides("redone tokenize inputs=a tokenizer.path=b") == ["tokenize inputs"]
    assert unknown_stages("redone tokenise x") == ["tokenise"] and not unknown_stages("redone dpo")
    assert missing_paths("training/looop.py and tools/") == ["training/looop.py"]
    assert missing_definitions("training/loop.py:train and training/loop.py:trains") == ["training/loop.py:trains"]
    assert missing_messages(["unknown key; did", "no such words N here"], ["{}: unknown key; did you mean"]) == [
        "no such words N here"
    ]
