"""Everything in this folder needs Transformer Engine, and skips itself without it."""

import importlib.metadata

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    try:
        importlib.metadata.version("transformer_engine_torch")
        return
    except importlib.metadata.PackageNotFoundError:
        reason = "Transformer Engine is not installed (tests/transformer_engine.sh makes an environment)"
    for item in items:
        if "tests/transformer_engine/" in str(item.path):
            item.add_marker(pytest.mark.skip(reason=reason))
