"""What a search refuses before it opens anything."""

import pytest

from megatron_redone.config.loader import load_config
from megatron_redone.config.optimize_mixture import OptimizeMixtureConfig
from megatron_redone.errors import UserError

KEYS = [
    *["output_dir=out", "sources=[{path: a}, {path: b}]", "target=[{path: t}]", "proxy.seq_length=8"],
    *["proxy.train_tokens=8", "proxy.global_batch_size=1", "proxy.init_from=model"],
]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("sources=[{path: a}]", "sources: a mixture takes two at least"),
        ("sources=[{path: a}, {path: x/a}]", "sources: two are called 'a'"),
        ("sources=[{path: a, prior: 1}, {path: b}]", "sources: no prior is given for b"),
        ("sources=[{path: a}, {path: b, name: 'b/c'}]", "sources: 'b/c' cannot be a name"),
        ("target=[]", "target: the list is empty"),
        ("proxy.init_from=null", "proxy.model.hf_config: name the config.json of a small model"),
        ("job=2", "job: 2 is none of 1 jobs"),
    ],
)
def test_one_line_each(change: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        load_config(OptimizeMixtureConfig, None, [*KEYS, change])


def test_what_is_given_is_kept() -> None:
    config = load_config(OptimizeMixtureConfig, None, [*KEYS, "job=1", "jobs=2"])
    assert config.job == 1 and config.sources[1].label == "b" and config.target[0].weight == 1
