"""What one layout has saved, another loads bit by bit. All pairs: tools/reliability/layout_pairs.py."""

from pathlib import Path

import pytest

from megatron_redone.config.model import Precision
from tests.helpers.layout_states import LAYOUTS, Kind, megatron_core_loads, needs, pass_on
from tests.helpers.ranks import run_on_ranks

pytestmark = pytest.mark.distributed


@pytest.mark.parametrize(
    ("tied", "precision", "step"), [(True, Precision.bf16, 3), (False, Precision.fp32, 7)], ids=["tied", "untied"]
)
def test_weights_main_weights_moments_and_steps_are_the_same_on_the_next_layout(
    tmp_path: Path, tied: bool, precision: Precision, step: int
) -> None:
    names = [list(LAYOUTS)[number * step % len(LAYOUTS)] for number in range(len(LAYOUTS))]
    for found in run_on_ranks(4, pass_on, Kind(tied=tied, precision=precision), names, tmp_path, timeout=600):
        assert len(found) == len(LAYOUTS) - 1 and not any(found.values()), found


def test_metadata_alone_travels_and_little_memory_is_needed(tmp_path: Path) -> None:
    """On four ranks, of a model of 38 million parameters."""
    for used in run_on_ranks(4, needs, tmp_path / "saved"):
        assert used.bytes_sent < 100_000, used
        assert used.peak_saving_mb < 64 and used.peak_loading_mb < 64, used


def test_megatron_core_reads_what_data_parallel_ranks_have_written(tmp_path: Path) -> None:
    kind = Kind(tied=True, precision=Precision.bf16)
    for differs in run_on_ranks(4, megatron_core_loads, kind, "dp4", tmp_path):
        assert not differs
