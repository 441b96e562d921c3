"""Datasets that a search can mean nothing over are refused, in one line each."""

import logging
from pathlib import Path

import numpy as np
import pytest

from megatron_redone.config.loader import load_config
from megatron_redone.config.optimize_mixture import OptimizeMixtureConfig
from megatron_redone.errors import UserError
from megatron_redone.mixture.search_data import open_search_data
from tests.helpers.mixture_inputs import write_search, write_walks


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("sources")
    keys = write_search(folder)
    write_walks(folder / "tiny", 3, 9, documents=1)
    return folder, [f"output_dir={folder}/out", *keys]


def config_of(keys: list[str], *changes: str) -> OptimizeMixtureConfig:
    return load_config(OptimizeMixtureConfig, None, [*keys, *changes])


def test_priors_go_by_tokens_or_as_given(inputs: tuple[Path, list[str]]) -> None:
    folder, keys = inputs
    data = open_search_data(config_of(keys))
    np.testing.assert_allclose(data.prior, data.tokens / data.tokens.sum())
    np.testing.assert_array_equal(data.caps, 1)
    given = f"sources=[{{path: {folder}/a, prior: 3}}, {{path: {folder}/b, prior: 1}}]"
    np.testing.assert_allclose(open_search_data(config_of(keys, given)).prior, [0.75, 0.25])


def test_caps_follow_from_epochs(inputs: tuple[Path, list[str]]) -> None:
    data = open_search_data(config_of(inputs[1], "train_tokens=100000", "max_epochs=4"))
    np.testing.assert_allclose(data.caps, 4 * data.tokens / 100_000)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("proxy.seq_length=20000", r"sources: 'a' has [\d,]+ tokens, fewer than one sample"),
        ("sources=[{path: FOLDER/a}, {path: FOLDER/missing}]", r"missing\.idx: no such file"),
        ("train_tokens=1000000", "train_tokens: 1.00M are more than all sources give"),
        ("train_tokens=1000000000", r"sources: 'a' has [\d.k]+ tokens; read max_epochs=4 times"),
        ("target=[{path: FOLDER/b}]", "target: 100 % of 'b' stands in the source 'b'"),
        ("target=[{path: FOLDER/a, name: held_out}]", "'held_out' stands in the source 'a', which would win by heart"),
    ],
)
def test_one_line_each(inputs: tuple[Path, list[str]], change: str, line: str) -> None:
    folder, keys = inputs
    with pytest.raises(UserError, match=line) as caught:
        open_search_data(config_of(keys, change.replace("FOLDER", str(folder))))
    assert "\n" not in str(caught.value)


def test_a_source_that_its_own_proxy_reads_many_times_is_told(
    inputs: tuple[Path, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    folder, keys = inputs
    sources = f"sources=[{{path: {folder}/a}}, {{path: {folder}/tiny}}]"
    with caplog.at_level(logging.WARNING):
        open_search_data(config_of(keys, sources, "proxy.seq_length=8"))
    assert "a proxy on 'tiny' alone reads it" in caplog.text and "'a'" not in caplog.text
