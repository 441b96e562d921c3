"""The encoder answers flat ids, and makes itself anew before it takes too much memory."""

from typing import Any

import awkward
import pytest

from megatron_redone.tokenization import fast
from megatron_redone.tokenization.fast import FastEncoder


class Bytes:
    """Ids are the bytes of a text; instances are counted."""

    made = alive = 0

    def __init__(self) -> None:
        Bytes.made += 1
        Bytes.alive += 1
        assert Bytes.alive == 1, "two encoders at once"

    def __del__(self) -> None:
        Bytes.alive -= 1

    def encode_batch(self, texts: list[str], *, parallel: bool) -> Any:
        assert not parallel
        return awkward.Array([list(text.encode()) for text in texts])


def test_ids_lie_one_after_the_other() -> None:
    texts = ("ab", "", "湖")
    ids, lengths = FastEncoder(Bytes).encode_batch(texts)
    assert ids.tolist() == list("".join(texts).encode()) and lengths.tolist() == [2, 0, 3]


@pytest.mark.parametrize(("limit", "loads"), [(1 << 50, 1), (0, 4)])
def test_past_the_limit_every_batch_gets_a_new_one(monkeypatch: pytest.MonkeyPatch, limit: int, loads: int) -> None:
    monkeypatch.setattr(fast, "_MEMORY_LIMIT", limit)
    monkeypatch.setattr(Bytes, "made", 0)
    encoder = FastEncoder(Bytes)
    for _ in range(3):
        ids, _ = encoder.encode_batch(["x"])
        assert ids.tolist() == [ord("x")]
    assert Bytes.made == loads
