"""The flags of processors as Linux shows them."""

from pathlib import Path

import pytest

from megatron_redone.distributed.bf16_support import bf16_instructions


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("fpu avx512f avx512_bf16 amx_bf16", "avx512_bf16"),
        ("fpu amx_bf16 amx_tile", "AMX"),
        ("fpu avx2 avx512f avx512_vnni", None),
    ],
)
def test_flags_of_the_first_processor_count(flags: str, found: str | None, tmp_path: Path) -> None:
    text = f"processor\t: 0\nmodel name\t: avx512_bf16\nflags\t\t: {flags}\nbugs\t: amx_bf16\n"
    (tmp_path / "cpuinfo").write_text(text)
    assert bf16_instructions(tmp_path / "cpuinfo") == found


def test_where_nothing_tells_there_are_none(tmp_path: Path) -> None:
    assert bf16_instructions(tmp_path / "cpuinfo") is None
    (tmp_path / "cpuinfo").write_text("Features\t: fp asimd bf16\n")
    assert bf16_instructions(tmp_path / "cpuinfo") is None
