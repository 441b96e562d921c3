"""How full the rows of a fine-tuning run were."""

from pathlib import Path

import numpy as np
import pytest

from megatron_redone.config.data import BlendSource
from megatron_redone.config.loader import to_yaml
from megatron_redone.config.sft import SftConfig
from megatron_redone.config.sft_data import SftDataConfig, TooLong
from megatron_redone.config.training import TrainingConfig
from megatron_redone.report.packed_sources import packed_sources
from megatron_redone.report.run_history import read_run
from tests.helpers.masked_data import random_conversations, write_conversations


def test_packing_is_that_of_the_run(tmp_path: Path) -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 300).tolist()
    prefix = write_conversations(tmp_path / "chat", random_conversations(lengths, 90, seed=0), 90)
    config = SftDataConfig(blend=[BlendSource(path=str(prefix))], seq_length=48, too_long=TooLong.drop)
    places = [length - 1 for length in lengths if length <= 49]
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    text = to_yaml(
        SftConfig(
            output_dir="x", init_from="y", data=config, training=TrainingConfig(global_batch_size=2, train_steps=1)
        )
    )
    (tmp_path / "sft" / "config.yaml").write_text(text)
    run = read_run(tmp_path / "sft", "sft")
    [found] = packed_sources(run)
    assert (found.conversations, found.dropped, found.truncated) == (len(places), 300 - len(places), 0)
    assert found.efficiency == pytest.approx(sum(places) / (48 * found.rows)) and found.efficiency > 0.9
    assert found.unpacked == pytest.approx(np.mean(places) / 48)


def test_other_runs_have_no_packed_rows(run_folder: Path) -> None:
    assert list(packed_sources(read_run(run_folder, "cpt"))) == []
