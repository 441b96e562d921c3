"""Makes `tests.helpers` importable, and ends the pool of ranks with the session."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))


@pytest.fixture(scope="session", autouse=True)
def _ranks_end_with_the_session() -> Iterator[None]:
    yield
    from tests.helpers import ranks

    ranks.stop_ranks()
