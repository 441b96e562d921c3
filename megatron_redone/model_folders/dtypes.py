"""Types of numbers under their names in safetensors files and in config.json."""

import torch

SAFETENSORS_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
DTYPES = {name: dtype for dtype, name in SAFETENSORS_NAMES.items()}

# What weights may be: anything else is quantized, and means nothing without its scales.
WEIGHT_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def config_name(dtype: torch.dtype) -> str:
    """The name in a config.json: `bfloat16`."""
    return str(dtype).removeprefix("torch.")
