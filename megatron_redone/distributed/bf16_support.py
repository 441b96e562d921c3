"""Whether a processor has instructions for bf16: without them torch computes it slower than fp32."""

from pathlib import Path

_FLAGS = {"avx512_bf16": "avx512_bf16", "amx_bf16": "AMX"}


def bf16_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """The name of the processor's instructions for products in bf16; None where there are none or nothing tells."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return None
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), [])
    return next((name for flag, name in _FLAGS.items() if flag in flags), None)
