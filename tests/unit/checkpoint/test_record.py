"""What a checkpoint carries beside its tensors comes back, and damage to it is one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.checkpoint.record import (
    TrainState,
    collect_hf_files,
    hf_folder,
    is_checkpoint,
    read_config,
    read_state,
    step_of_name,
    write_record,
)
from megatron_redone.errors import UserError

STATE = TrainState(step=3, consumed_samples=24, consumed_tokens=768, data={"seed": 1})


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write_record(tmp_path / "step-00000003", "a: 1\n", STATE, {})
    return tmp_path / "step-00000003"


def test_the_record_is_read_back(tmp_path: Path) -> None:
    model, tokenizer, checkpoint = tmp_path / "model", tmp_path / "tokenizer", tmp_path / "step-1"
    for path, names in {model: ["config.json", "model.safetensors"], tokenizer: ["tokenizer.json"]}.items():
        path.mkdir()
        for name in names:
            (path / name).write_text(name)
    write_record(checkpoint, "a: 1\n", STATE, collect_hf_files(model / "config.json", tokenizer))
    assert read_state(checkpoint) == STATE and is_checkpoint(checkpoint) and read_config(checkpoint) == "a: 1\n"
    assert sorted(p.name for p in (checkpoint / "run/hf").iterdir()) == ["config.json", "tokenizer.json"]
    with pytest.raises(UserError, match="not a checkpoint of a training run"):
        read_state(model)


def test_the_tokenizer_s_folder_does_not_replace_the_model_s_config(tmp_path: Path) -> None:
    for name in ("model", "tokenizer"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(name)
    found = collect_hf_files(tmp_path / "model" / "config.json", tmp_path / "tokenizer")
    assert found == {"config.json": tmp_path / "model" / "config.json"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 4}, r"says step 4, the folder 3"),
        ({"step": -4}, "step is -4"),
        ({"step": "3"}, "step is '3'"),
        ({"consumed_samples": None}, "consumed_samples is None"),
        ({"consumed_tokens": 1.5}, "consumed_tokens is 1.5"),
        ({"data": []}, r"data is \[\]"),
        ({"other": 1}, "other"),
    ],
)
def test_a_damaged_state_is_named(checkpoint: Path, change: dict[str, Any], message: str) -> None:
    file = checkpoint / "run" / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(UserError, match=message):
        read_state(checkpoint)


@pytest.mark.parametrize("content", [b"", b"null", b"[1]", b'{"step": 3', b"\xff"])
def test_a_state_that_is_none_is_one_line(checkpoint: Path, content: bytes) -> None:
    (checkpoint / "run" / "state.json").write_bytes(content)
    with pytest.raises(UserError, match="not a checkpoint of a training run"):
        read_state(checkpoint)


@pytest.mark.parametrize("content", [None, b"a: [1, ", b"\xff", b"text", b"a: 1\nb: {c: "])
def test_a_damaged_config_is_named(checkpoint: Path, content: bytes | None) -> None:
    file = checkpoint / "run" / "config.yaml"
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(UserError, match=r"run/config\.yaml: (missing or )?damaged"):
        read_config(checkpoint)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("step-00000012", 12),
        ("step-123456789", 123456789),
        *((name, None) for name in ("step-12", "step-00000012.partial", "step-٠٠٠٠٠٠٠٤", "xstep-00000012", "")),
    ],
)
def test_steps_of_names(name: str, step: int | None) -> None:
    assert step_of_name(name) == step


@pytest.mark.parametrize("name", ["tokenizer.json", "additional_chat_templates/tool.jinja"])
def test_a_link_that_leads_out_of_a_checkpoint_is_refused(checkpoint: Path, tmp_path: Path, name: str) -> None:
    """An export would carry what it leads to."""
    (tmp_path / "secret").write_text("secret")
    (checkpoint / "run" / "hf" / "inside.json").symlink_to(checkpoint / "run" / "state.json")
    assert hf_folder(checkpoint) == checkpoint / "run" / "hf"
    link = hf_folder(checkpoint) / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match=rf"{name}: is a link to a file outside the checkpoint"):
        hf_folder(checkpoint)
