"""Keys and values of a prefix that many sequences share, as transformers' models take them."""

import copy
import inspect
from typing import Any

import torch


def can_share(model: Any) -> bool:
    """Whether every layer of a transformers model keeps plain keys and values of all positions."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)


def behind(model: Any, past: Any) -> dict[str, Any]:
    """Keys and values under the name by which this release of transformers takes them; nothing where there are none."""
    if past is None:
        return {}
    return {"cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values": past}


class SharedPrefixes:
    """See `Prefixes`, of a transformers model."""

    def __init__(self, model: Any) -> None:
        """Takes a model of which `can_share` is true."""
        self._model = model

    @torch.inference_mode()
    def cache(self, ids: list[int]) -> Any:
        """Keys and values of a prefix."""
        from transformers.cache_utils import DynamicCache

        cache = DynamicCache(config=self._model.config)
        tokens = torch.tensor([ids], device=self._model.device)
        self._model.get_decoder()(tokens, use_cache=True, **behind(self._model.get_decoder(), cache))
        return cache

    def for_rows(self, cache: Any, rows: int) -> Any:
        """Views of them, of which nothing is copied until a row adds its own."""
        batch = copy.copy(cache)
        batch.layers = [copy.copy(layer) for layer in cache.layers]
        for layer in batch.layers:
            layer.keys = layer.keys.expand(rows, -1, -1, -1)
            layer.values = layer.values.expand(rows, -1, -1, -1)
        return batch
