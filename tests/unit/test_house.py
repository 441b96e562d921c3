"""Rules of the house that no tool checks: names of modules, and tests that bear them."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from megatron_redone.config.stage_table import STAGES

UNIT = Path(__file__).parent
PACKAGE = UNIT.parents[1] / "megatron_redone"

LEAST_MIRRORED = 0.6  # of the modules have a test file of their name

# Packages that do the same job in two families: what a chat is and what a pair is, of many formats.
SAME_JOB = ({"curation/conversations", "curation/pair_formats"},)
COMMANDS = {name.replace("-", "_") for name in STAGES}


def modules() -> list[Path]:
    """The package's modules, relative to it."""
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if not path.name.startswith("__"))


def same_names(paths: Iterable[Path]) -> dict[str, list[str]]:
    """Names that several modules bear without a reason, and the folders of those.

    A module of config/ bears the name of the module or command that it configures, a stage may have that of the
    package module that does its work, and two families may do the same job in a module each.
    """
    folders: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        folders[path.name].append(path.parent.as_posix())
    return {name: found for name, found in folders.items() if not _has_reason(name, found)}


def _has_reason(name: str, folders: list[str]) -> bool:
    others = [folder for folder in folders if folder not in ("config", "stages")]
    named_by_command = Path(name).stem in COMMANDS
    return (len(others) < 2 and ("stages" not in folders or named_by_command)) or set(others) in SAME_JOB


def mirrored(paths: Iterable[Path]) -> list[Path]:
    """The modules whose tests have their name, and lie in unit/ where the module lies in the package."""
    return [path for path in paths if (UNIT / path.parent / f"test_{path.name}").is_file()]


def test_no_two_modules_share_a_name_without_a_reason() -> None:
    assert same_names(modules()) == {}


def test_shared_names_are_found() -> None:
    wrong = same_names([Path("formats/records.py"), Path("report/records.py"), Path("models/build.py")])
    assert wrong == {"records.py": ["formats", "report"]}
    assert not same_names([Path("config/optimizer.py"), Path("training/optimizer.py")])
    assert not same_names([Path("curation/conversations/encoding.py"), Path("curation/pair_formats/encoding.py")])


def test_unit_tests_mirror_the_package() -> None:
    found = mirrored(modules())
    assert len(found) / len(modules()) >= LEAST_MIRRORED, f"{len(found)} of {len(modules())} modules have a test file"


if __name__ == "__main__":  # python -m tests.unit.test_house
    without = [path for path in modules() if path not in mirrored(modules())]
    print(*without, f"{len(modules()) - len(without)} of {len(modules())} modules have a test file", sep="\n")
