"""fp32 weights exported in bf16; torch's own rounding is the oracle of the nearest."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from megatron_redone.config.bf16_rounding import Bf16Rounding
from megatron_redone.config.weights_dtype import WeightsDtype
from megatron_redone.conversion import exporting
from tests.helpers import hf_folders
from tests.helpers.round_trips import convert

BF16 = {"dtype": WeightsDtype.bf16}


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hf_folders.write(tmp_path_factory.mktemp("models") / "hf", "qwen2_untied", torch.float32)


def exported(source: Path, folder: Path, **keys: Any) -> dict[str, torch.Tensor]:
    folder.mkdir()
    return hf_folders.tensors(convert(source, folder, **{**BF16, **keys}))


def test_nearest_is_torchs(fp32: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        found = exported(fp32, tmp_path / "nearest", rounding=Bf16Rounding.nearest)
    assert "to the nearest bf16" in caplog.text
    hf_folders.assert_same({name: value.bfloat16() for name, value in hf_folders.tensors(fp32).items()}, found)


def test_chance_keeps_the_mean_and_goes_by_seed_and_place(
    fp32: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.INFO):
        found = exported(fp32, tmp_path / "one")
    assert "by chance (seed 1234)" in caplog.text
    monkeypatch.setattr(exporting, "row_blocks", lambda start, stop, _: [(start, start + 3), (start + 3, stop)])
    hf_folders.assert_same(found, exported(fp32, tmp_path / "by_rows"))
    other = exported(fp32, tmp_path / "other", seed=5)
    for name, value in hf_folders.tensors(fp32).items():
        spacing = value.abs().log2().floor().exp2() / 128
        error = ((found[name].double() - value) / spacing).flatten()
        assert error.abs().max() <= 1 and abs(error.mean()) < 4 * error.std() / len(error) ** 0.5, name
        assert not torch.equal(other[name], found[name])


def test_bf16_weights_are_never_rounded_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = hf_folders.write(tmp_path / "hf", "qwen3", torch.bfloat16)
    with caplog.at_level(logging.INFO):
        hf_folders.assert_same(hf_folders.tensors(source), exported(source, tmp_path / "bf16"))
        wide = exported(source, tmp_path / "fp32", dtype=WeightsDtype.fp32)
    assert "weights: rounded" not in caplog.text and "fp32 adds nothing" in caplog.text
    hf_folders.assert_same({name: value.float() for name, value in hf_folders.tensors(source).items()}, wide)
