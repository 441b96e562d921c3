"""Hugging Face to a checkpoint and back, in one process."""

import json
from pathlib import Path
from typing import Any

from megatron_redone.config.export_hf import ExportHFConfig
from megatron_redone.config.import_hf import ImportHFConfig
from megatron_redone.stages import export_hf, import_hf


def convert(source: Path, folder: Path, **keys: Any) -> Path:
    """Imports and exports; the result's folder."""
    import_hf.run(ImportHFConfig(hf=str(source), output=str(folder / "checkpoint")))
    keys = {"output": str(folder / "out"), "max_shard_gb": 1e-4, **keys}
    export_hf.run(ExportHFConfig(checkpoint=str(folder / "checkpoint"), **keys))
    return folder / "out"


def edit_config(folder: Path, **changes: Any) -> None:
    """Sets keys of a directory's config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
