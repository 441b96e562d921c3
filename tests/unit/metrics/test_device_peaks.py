"""Peaks by the names that CUDA gives; the numbers are those of the data sheets."""

import pytest

from megatron_redone.metrics.device_peaks import Arithmetic, peak_flops


@pytest.mark.parametrize(
    ("name", "bf16", "fp8"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4, 1978.9),
        ("NVIDIA H100 PCIe", 756, 1513),
        ("NVIDIA H200", 989.4, 1978.9),
        ("NVIDIA H20", 148, 296),
        ("NVIDIA A100-SXM4-80GB", 312, None),
        ("NVIDIA A100 80GB PCIe", 312, None),
        ("NVIDIA L4", 121, 242.5),
        ("NVIDIA L40S", 362, 733),
        ("NVIDIA B200", 2250, 4500),
        ("Intel(R) Xeon(R)", None, None),
    ],
)
def test_peaks_by_the_names_that_cuda_gives(name: str, bf16: float | None, fp8: float | None) -> None:
    for arithmetic, teraflops in ((Arithmetic.bf16, bf16), (Arithmetic.fp8, fp8)):
        assert peak_flops(name, arithmetic) == (None if teraflops is None else teraflops * 1e12)
