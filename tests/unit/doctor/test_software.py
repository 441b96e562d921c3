"""What software is there, whether it works, and what is said where it does not."""

from pathlib import Path

import pytest

from megatron_redone.doctor import diagnosis, software
from megatron_redone.doctor.software import State, import_error, inspect_software
from tests.helpers.setup_extras import extras_of_stages


def _install(folder: Path, package: str, version: str, module: str | None = None, body: str = "") -> None:
    """A distribution, as pip leaves its metadata."""
    info = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    if module is not None:
        path = folder / Path(*module.split("."))
        path.mkdir(parents=True)
        for parent in [path, *path.parents]:
            if parent == folder:
                break
            (parent / "__init__.py").write_text(body if parent == path else "")


def _install_this_project(folder: Path) -> None:
    """Its metadata, with what setup.py asks for by its extras."""
    _install(folder, "megatron_redone", "0.1.0")
    lines = [f"Provides-Extra: {extra}" for extra in extras_of_stages()]
    lines += [
        f'Requires-Dist: {text}; extra == "{extra}"' for extra, texts in extras_of_stages().items() for text in texts
    ]
    with open(folder / "megatron_redone-0.1.0.dist-info" / "METADATA", "a") as stream:
        stream.write("\n".join(lines) + "\n")


def test_software_of_this_environment_is_found() -> None:
    from importlib.metadata import version

    parts = {part.name: part for part in inspect_software()}
    for name in ("torch", "megatron-core", "transformers"):
        assert (parts[name].version, parts[name].state) == (version(name), State.fine)
    assert all(part.state is State.fine for part in parts.values() if part.required)
    assert all(part.remedy for part in parts.values() if part.state is not State.fine)


def test_a_package_whose_import_fails_is_broken_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way Transformer Engine fails when it was built for another torch."""
    body = "raise ImportError('undefined symbol: _ZN3c10')"
    _install(tmp_path, "transformer-engine", "2.11.0", "transformer_engine.pytorch", body)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    part = next(part for part in inspect_software() if part.name == "transformer-engine")
    assert (part.version, part.state, part.required) == ("2.11.0", State.broken, False)
    assert part.remedy == "its import fails: ImportError: undefined symbol: _ZN3c10"


def test_a_version_out_of_range_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(tmp_path, "megatron-core", "0.12.0")
    monkeypatch.syspath_prepend(str(tmp_path))
    part = next(part for part in inspect_software() if part.name == "megatron-core")
    assert part.state is State.broken and part.required
    assert "megatron-core" in part.remedy and ">=0.16" in part.remedy
    assert list(diagnosis._software_problems([part])) == [f"megatron-core is broken ({part.remedy})"]


def test_what_needs_a_whole_extra_says_what_of_it_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a list of packages by hand, such as an image's, has forgotten some."""
    _install_this_project(tmp_path)
    _install(tmp_path, "pycld2", "0.30")  # and 0.42 is asked for
    monkeypatch.syspath_prepend(str(tmp_path))
    absent = software._installed
    monkeypatch.setattr(software, "_installed", lambda name: None if name == "phonenumberslite" else absent(name))
    part = next(part for part in inspect_software() if part.name == "datatrove")
    assert part.state is State.broken and not part.required
    assert part.remedy == "it needs phonenumberslite, pycld2, too: pip install -e '.[curation]'"


def test_every_package_that_a_stage_needs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a row of its own, or by that of a package which needs its whole extra."""
    _install_this_project(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names = {requirement.name for extra in extras_of_stages() for requirement in software._requirements(extra)}
    assert {"datatrove", "lm_eval", "ray", "scipy", "openai"} <= names
    monkeypatch.setattr(
        software, "_installed", lambda name: "1" if name in {"datatrove", "lm_eval", "pypinyin"} else None
    )
    monkeypatch.setattr(software, "_range_of", lambda known: None)
    told = inspect_software()
    rows = {part.name: part.remedy for part in told if part.state is not State.fine}
    assert all(name in rows or any(name in remedy for remedy in rows.values()) for name in names)


@pytest.mark.slow
def test_an_import_that_hangs_or_crashes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "crashes.py").write_text("import os; os._exit(7)")
    (tmp_path / "hangs.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(software, "_PROBE_SECONDS", 2)
    assert import_error("json") is None
    assert import_error("crashes") == "it ended with code 7"
    assert import_error("hangs") == "no answer within 2 s"
