"""What a checkpoint carries beside its tensors, so that it can be resumed, exported and understood alone.

run/config.yaml      the resolved configuration of the run
run/state.json       where the run stood
run/checksums.json   size and checksums of every other file (checksums.py)
run/hf/              config.json and tokenizer of the model, as they came, and the chat template of its data
"""

import dataclasses
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from megatron_redone.batches.micro_batch import GlobalBatch
from megatron_redone.errors import DamageError, UserError
from megatron_redone.formats.atomic import write_json, write_text
from megatron_redone.formats.hf_folder import hf_files

_HAS_CHECKSUMS = "has_checksums"
_NAME = re.compile(r"step-(\d{8,12})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Where a run stands.

    Attributes:
        step: Finished steps.
        consumed_samples: Of the training blend, over all ranks: the data's whole state.
        consumed_tokens: Over all ranks.
        data: What identifies the training data; compared on resuming.
        left_out: Samples that are not trained on, as [first, last], because a step on them went wrong.
        recent: Figures of the last steps by name, oldest first, which the next ones are compared with.
    """

    step: int = 0
    consumed_samples: int = 0
    consumed_tokens: int = 0
    data: dict[str, Any] = field(default_factory=dict)
    left_out: list[list[int]] = field(default_factory=list)
    recent: dict[str, list[float]] = field(default_factory=dict)

    def after(self, batch: GlobalBatch) -> "TrainState":
        """Where the run stands after one more step, on a batch."""
        return dataclasses.replace(
            self,
            step=self.step + 1,
            consumed_samples=batch.consumed_samples,
            consumed_tokens=self.consumed_tokens + batch.tokens,
        )


def write_record(
    checkpoint: Path,
    config_yaml: str,
    state: TrainState,
    hf_files: Mapping[str, Path],
    hf_texts: Mapping[str, str] | None = None,
) -> None:
    """Writes the three parts.

    Args:
        checkpoint: The folder that is being written.
        config_yaml: The resolved configuration.
        state: Where the run stands.
        hf_files: Name in `run/hf/` and where to copy it from.
        hf_texts: Name in `run/hf/` and the content.
    """
    folder = hf_folder(checkpoint)
    for name in ("config.json", *hf_files, *(hf_texts or {})):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    write_text(checkpoint / "run" / "config.yaml", config_yaml)
    write_json(checkpoint / "run" / "state.json", {**dataclasses.asdict(state), _HAS_CHECKSUMS: True})
    for name, source in hf_files.items():
        shutil.copyfile(source, folder / name)
    for name, text in (hf_texts or {}).items():
        write_text(folder / name, text)


def read_state(checkpoint: Path) -> TrainState:
    """Where the run of a checkpoint stood.

    Raises:
        UserError: this is not a checkpoint of a run, or its state is damaged.
    """
    try:
        content = _read_state_file(checkpoint)
        content.pop(_HAS_CHECKSUMS, None)
        state = TrainState(**content)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DamageError(f"{checkpoint}: not a checkpoint of a training run ({error})") from None
    _check_state(state, checkpoint)
    return state


def has_checksums(checkpoint: Path) -> bool:
    """Whether a checkpoint says that run/checksums.json belongs to it."""
    try:
        return bool(_read_state_file(checkpoint).get(_HAS_CHECKSUMS))
    except (OSError, ValueError, AttributeError):
        return False


def _read_state_file(checkpoint: Path) -> Any:
    return json.loads((checkpoint / "run" / "state.json").read_text(encoding="utf-8"))


def _check_state(state: TrainState, checkpoint: Path) -> None:
    file = checkpoint / "run" / "state.json"
    for name in ("step", "consumed_samples", "consumed_tokens"):
        value = getattr(state, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise DamageError(f"{file}: damaged ({name} is {value!r}); take another checkpoint")
    if not isinstance(state.data, dict):
        raise DamageError(f"{file}: damaged (data is {state.data!r}); take another checkpoint")
    if not isinstance(state.left_out, list) or not isinstance(state.recent, dict):
        raise DamageError(f"{file}: damaged (left_out or recent); take another checkpoint")
    named = step_of_name(checkpoint.name)
    if named is not None and named != state.step:
        raise DamageError(f"{file}: damaged (it says step {state.step}, the folder {named}); take another checkpoint")


def step_of_name(name: str) -> int | None:
    """The step of a checkpoint's folder, or None for another name."""
    match = _NAME.fullmatch(name)
    return None if match is None else int(match[1])


def read_config(checkpoint: Path) -> str:
    """The resolved configuration of the run, as YAML.

    Raises:
        UserError: it is missing or damaged.
    """
    file = checkpoint / "run" / "config.yaml"
    try:
        text = file.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DamageError(f"{file}: missing or damaged ({reason}); take another checkpoint") from None
    if not isinstance(content, dict | None):
        raise DamageError(f"{file}: damaged (it holds no keys); take another checkpoint")
    return text


def hf_folder(checkpoint: Path) -> Path:
    """The Hugging Face files that a checkpoint carries.

    Raises:
        UserError: one of them is a link that leads out of the checkpoint. Exports are given away: they would hold
            whatever file it leads to.
    """
    folder = checkpoint / "run" / "hf"
    for file in folder.rglob("*"):
        if file.is_symlink() and not file.resolve().is_relative_to(checkpoint.resolve()):
            raise UserError(f"{file}: is a link to a file outside the checkpoint; put the file itself there")
    return folder


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is a checkpoint of a training run."""
    return (path / "run" / "state.json").is_file()


def collect_hf_files(config_json: Path, tokenizer: Path | None) -> dict[str, Path]:
    """The files that checkpoints are to carry.

    Args:
        config_json: The model's config.json.
        tokenizer: The folder with the tokenizer; None where the model has none.
    """
    folders = [config_json.parent] + ([tokenizer] if tokenizer is not None else [])
    found = {name: folder / name for folder in folders for name in hf_files(folder)}
    return {**found, "config.json": config_json}
