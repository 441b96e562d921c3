"""Makes tests/helpers importable as `helpers`, and ends the pool of ranks with the session."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def _ranks_end_with_the_session() -> Iterator[None]:
    yield
    from helpers import ranks

    ranks.stop_ranks()
