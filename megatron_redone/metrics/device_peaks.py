"""What accelerators can do at most, for model FLOPs utilisation.

Teraflops a second of dense (not sparse) tensor-core products, from NVIDIA's data sheets: where a sheet
prints the rate with 2:4 sparsity only, half of it. None stands for a type that the device lacks.
"""

import enum


class Arithmetic(enum.Enum):
    """The type in which the matrix products run."""

    bf16 = "bf16"
    fp8 = "fp8"


# The first entry whose words all occur in the name that CUDA gives counts, so narrower ones stand first.
_PEAKS: list[tuple[tuple[str, ...], float, float | None]] = [
    (("GB200",), 2500, 5000),  # GB200 NVL72 data sheet, 2024, per GPU
    (("B200",), 2250, 4500),  # DGX B200 data sheet, 2024: 72 PFLOPS of sparse FP8 on 8 GPUs
    (("H200", "NVL"), 835.5, 1671),  # H200 data sheet, 2024
    (("H200",), 989.4, 1978.9),  # H200 data sheet, 2024, SXM
    (("H100", "NVL"), 835.5, 1671),  # H100 data sheet, 2024
    (("H100", "PCIe"), 756, 1513),  # H100 data sheet, 2023
    (("H100",), 989.4, 1978.9),  # H100 data sheet and Hopper white paper, 2022, SXM5
    (("H800", "PCIe"), 756, 1513),  # the H100's with slower links
    (("H800",), 989.4, 1978.9),
    (("H20",), 148, 296),  # H20 data sheet, 2023
    (("A100",), 312, None),  # A100 data sheet, 2020; SXM4 and PCIe alike
    (("A800",), 312, None),  # the A100's with slower links
    (("L40S",), 362, 733),  # L40S data sheet, 2023
    (("L4",), 121, 242.5),  # L4 data sheet, 2023
    (("A10G",), 70, None),  # A10G data sheet, 2021
    (("A10",), 125, None),  # A10 data sheet, 2021
]


def peak_flops(device_name: str, arithmetic: Arithmetic) -> float | None:
    """Operations a second that a device can do at most, or None for one that is not in the table.

    Args:
        device_name: As `torch.cuda.get_device_name()` gives it.
        arithmetic: The type of most matrix products.
    """
    words = device_name.replace("-", " ").upper().split()
    for needed, bf16, fp8 in _PEAKS:
        if all(word.upper() in words for word in needed):
            teraflops = bf16 if arithmetic is Arithmetic.bf16 else fp8
            return None if teraflops is None else teraflops * 1e12
    return None
