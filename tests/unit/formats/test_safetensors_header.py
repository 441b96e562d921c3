"""Headers as the library reads them."""

from pathlib import Path

import numpy as np
from safetensors import safe_open

from megatron_redone.formats.safetensors_header import safetensors_header


def test_the_library_reads_names_shapes_numbers_and_what_is_said(tmp_path: Path) -> None:
    numbers = {"b": np.arange(6, dtype="<f4").reshape(2, 3), "a": np.array([7], "<i4"), "none": np.zeros((0, 4), "<f4")}
    names = {"b": "F32", "a": "I32", "none": "F32"}
    said = {"format": "pt", "text": 'é "quoted"'}
    header = safetensors_header(said, [(name, names[name], n.shape, n.nbytes) for name, n in numbers.items()])
    assert len(header) % 8 == 0
    (tmp_path / "a").write_bytes(header + b"".join(n.tobytes() for n in numbers.values()))
    with safe_open(tmp_path / "a", "np") as file:
        assert file.metadata() == said
        for name, expected in numbers.items():
            found = file.get_tensor(name)
            assert found.dtype == expected.dtype and np.array_equal(found, expected) and found.shape == expected.shape
