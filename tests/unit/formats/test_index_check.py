"""Arrays of an .idx that contradict each other, as an attack made them, are refused before anything is read."""

from pathlib import Path

import numpy as np
import pytest

from megatron_redone.errors import UserError
from megatron_redone.formats.indexed import IndexedDataset, IndexedDatasetWriter

HEADER, SEQUENCES = 34, 100


@pytest.mark.parametrize(
    ("at", "value", "told"),
    [
        (HEADER + 4 * SEQUENCES, np.int64(4), "sequence 0 does not begin where the file does"),
        (HEADER + 4 * SEQUENCES + 8 * 2, np.int64(0), "sequence 2 does not begin where the one before ends"),
        (HEADER + 4 * 5, np.int32(9), "sequence 6 does not begin where the one before ends"),
        (HEADER + 4 * 5, np.int32(-9), "sequence 5 has a negative length"),
        (HEADER + 12 * SEQUENCES + 8 * 3, np.int64(0), "documents are not in order"),
        (HEADER + 12 * SEQUENCES, np.int64(1), "documents do not cover its sequences"),
    ],
)
def test_an_index_that_contradicts_itself_is_not_opened(tmp_path: Path, at: int, value: np.generic, told: str) -> None:
    with IndexedDatasetWriter(tmp_path / "a", np.int32) as writer:
        writer.add(np.arange(SEQUENCES * 7), np.full(SEQUENCES, 7))
        writer.finish()
    content = bytearray((tmp_path / "a.idx").read_bytes())
    content[at : at + value.nbytes] = value.tobytes()
    (tmp_path / "a.idx").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.idx: .*{told}"):
        IndexedDataset(tmp_path / "a")
