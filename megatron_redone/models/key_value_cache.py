"""Keys and values that a model of the torch backend has computed, so that what was read is not read again.

Shape legend: B rows, T tokens read so far, S new ones, G key/value heads, D head size.
"""

from typing import Any

import torch


class KeyValueCache:
    """Travels in a `RowLayout` to every layer's attention, which adds what is new and sees all."""

    def __init__(self) -> None:
        """Nothing has been read."""
        self._parts: dict[Any, tuple[torch.Tensor, torch.Tensor]] = {}
        self._mask = torch.zeros(1, 0, dtype=torch.bool)
        self._new = 0

    @property
    def length(self) -> int:
        """Tokens that every layer has read."""
        return next(iter(self._parts.values()))[0].shape[0] if self._parts else 0

    def extend(
        self, layer: Any, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """A layer's new keys and values [S, B, G, D] with those before them [T + S, B, G, D], and who sees what.

        The last is bool [B, 1, S, T + S]. Padding sees itself, so that nothing is divided by nothing.
        """
        if layer in self._parts:
            before = self._parts[layer]
            key, value = torch.cat([before[0], key]), torch.cat([before[1], value])
        self._parts[layer] = key, value
        places = torch.arange(key.shape[0], device=key.device)
        queries = places[-self._new :, None]
        return key, value, ((places <= queries) & self._mask[:, None, None, :]) | (places == queries)

    def read(self, mask: torch.Tensor) -> None:
        """Announces what is about to be read.

        Args:
            mask: bool [B, T + S], of all tokens; false for padding, which no token sees.
        """
        self._new = mask.shape[1] - self.length
        self._mask = mask

    def for_rows(self, rows: int) -> "KeyValueCache":
        """The same, of one row, for a batch of rows: views, until a row adds its own."""
        batch = KeyValueCache()
        batch._parts = {
            layer: (key.expand(-1, rows, -1, -1), value.expand(-1, rows, -1, -1))
            for layer, (key, value) in self._parts.items()
        }
        return batch
