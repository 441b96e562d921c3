"""Sources of a curation and what Slurm is told."""

import json
from typing import Any

import pytest

from megatron_redone.config.curate import CurateConfig, MinHashConfig
from megatron_redone.config.loader import load_config
from megatron_redone.errors import UserError


def load(*sources: dict[str, Any], overrides: tuple[str, ...] = ()) -> CurateConfig:
    listed = json.dumps([{"input": "x.jsonl", "name": "a", **source} for source in sources])
    return load_config(CurateConfig, None, [f"sources={listed}", "output_dir=out", *overrides])


@pytest.mark.parametrize(
    ("sources", "overrides", "message"),
    [
        ([], (), "sources: the list is empty"),
        ([{}, {}], (), "sources: two are called 'a'"),
        ([{"name": "a/b"}], (), "sources[0].name: 'a/b' cannot be a file's name"),
        ([{"name": "held_out"}], (), "sources[0].name: 'held_out' cannot be a file's name"),
        ([{"input": []}], (), "sources[0].input: the list is empty"),
        ([{"kind": "forum"}], (), "forum"),
        ([{}], ("executor=slurm",), "slurm.partition: name the partition"),
        (
            [{}],
            ("executor=slurm", "slurm.partition=p", "slurm.arguments=[gres]"),
            "arguments: 'gres' is not of the form",
        ),
        ([{}], ("held_out.share=0.1",), "held_out.share: is called fraction now"),
    ],
)
def test_mistakes_are_told_in_one_line(sources: list[dict[str, Any]], overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(*sources, overrides=overrides)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_odds_of_the_defaults_are_those_that_are_documented() -> None:
    """Two documents agree on a hash with odds of their similarity: 1 - (1 - s^hashes)^buckets for any one bucket."""
    config = load({}).minhash

    def odds(similarity: float) -> float:
        return 1 - (1 - similarity**config.hashes_per_bucket) ** config.buckets

    assert odds(0.8) == pytest.approx(0.998, abs=0.0005)
    assert "99.8 % of the pairs of Jaccard similarity 0.8 are compared" in str(MinHashConfig.__doc__)
