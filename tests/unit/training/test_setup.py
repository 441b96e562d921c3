"""MFU is against the peak of the type that a run's matrix products have."""

import pytest
import torch

from megatron_redone.config.model import Precision
from megatron_redone.metrics.device_peaks import Arithmetic, peak_flops
from megatron_redone.training.setup import _device_peak

H100 = "NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize(
    ("precision", "arithmetic"),
    [
        (Precision.bf16, Arithmetic.bf16),
        (Precision.fp8, Arithmetic.fp8),
        (Precision.fp8_emulated, Arithmetic.bf16),  # its products are bf16's, over rounded operands
    ],
)
def test_the_peak_is_that_of_the_precision_that_runs(monkeypatch, precision: Precision, arithmetic: Arithmetic) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: H100)
    peak = _device_peak(torch.device("cuda", 0), precision)
    assert peak is not None and peak == peak_flops(H100, arithmetic)


def test_a_cpu_has_no_peak() -> None:
    assert _device_peak(torch.device("cpu"), Precision.fp8) is None
