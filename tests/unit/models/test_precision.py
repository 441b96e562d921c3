"""What auto takes, and that it is told."""

import pytest
import torch

from megatron_redone.config.model import ModelConfig, Precision
from megatron_redone.models import precision
from megatron_redone.models.precision import resolve_precision

AUTO = ModelConfig(precision=Precision.auto, hf_config="kept")


@pytest.mark.parametrize(
    ("device", "instructions", "recorded", "chosen", "reason"),
    [
        ("cuda", None, None, Precision.bf16, "on a CUDA device"),
        ("cpu", "avx512_bf16", None, Precision.bf16, "the processor has avx512_bf16"),
        ("cpu", None, None, Precision.fp32, "neither avx512_bf16 nor AMX"),
        ("cpu", "AMX", Precision.fp32, Precision.fp32, "as the run began"),
        ("cpu", None, Precision.bf16, Precision.bf16, "as the run began"),
    ],
)
def test_auto(
    device: str,
    instructions: str | None,
    recorded: Precision | None,
    chosen: Precision,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(precision, "bf16_instructions", lambda: instructions)
    with caplog.at_level("INFO"):
        found = resolve_precision(AUTO, torch.device(device), recorded)
    assert found == ModelConfig(precision=chosen, hf_config="kept")
    assert f"precision: auto takes {chosen.name}" in caplog.text and reason in caplog.text


def test_what_is_said_stays(caplog: pytest.LogCaptureFixture) -> None:
    for asked in (Precision.fp32, Precision.bf16, Precision.fp8_emulated):
        model = ModelConfig(precision=asked)
        assert resolve_precision(model, torch.device("cpu"), Precision.bf16) is model
    assert not caplog.text
