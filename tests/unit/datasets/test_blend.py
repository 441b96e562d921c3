"""A blend's samples come from its streams in order, at any place, and its report adds up."""

import pytest

from megatron_redone.config.data import BlendSource, DataConfig
from megatron_redone.config.loader import load_config
from megatron_redone.datasets.blend import Blend
from megatron_redone.datasets.token_stream import TokenStream, open_token_blend
from megatron_redone.errors import UserError


def blend_of(write_dataset, weights: list[float | None]) -> Blend[TokenStream]:
    sizes = [400, 700, 2000]
    paths = [write_dataset([100] * (size // 100), name=f"part{size}") for size in sizes]
    sources = [BlendSource(path=path, weight=w) for path, w in zip(paths, weights, strict=True)]
    return open_token_blend(DataConfig(blend=sources, seq_length=16, seed=3))


def test_each_source_gives_its_samples_in_order_without_a_gap(write_dataset) -> None:
    blend = blend_of(write_dataset, [0.5, 0.3, 0.2])
    samples = blend.samples(0, 1000)
    for source in range(3):
        numbers = [number for chosen, number in samples if chosen == source]
        assert numbers == list(range(len(numbers)))
    place = samples[777]
    assert len(blend.streams[place[0]].tokens(place[1])) == 17


def test_resuming_anywhere_continues_the_same_samples(write_dataset) -> None:
    samples = blend_of(write_dataset, [1, 2, 5]).samples(0, 600)
    for start in (0, 1, 7, 333, 599):
        assert blend_of(write_dataset, [1, 2, 5]).samples(start, 600 - start) == samples[start:]


def test_progress_counts_samples_and_epochs(write_dataset) -> None:
    blend = blend_of(write_dataset, [0.5, 0.3, 0.2])
    samples = blend.samples(0, 500)
    for consumed in (0, 499, 10, 500):
        report = blend.progress(consumed)
        assert [row.samples for row in report] == [[s for s, _ in samples[:consumed]].count(i) for i in range(3)]
    assert [row.name for row in report] == ["part400", "part700", "part2000"]
    assert [round(row.epochs, 3) for row in report] == [round(250 / 24, 3), round(150 / 43, 3), round(100 / 124, 3)]
    assert [row.fraction for row in report] == [0.5, 0.3, 0.2]
    # Reports in between do not move the reader.
    assert blend.samples(500, 3) == blend_of(write_dataset, [0.5, 0.3, 0.2]).samples(500, 3)


def test_without_weights_the_tokens_decide(write_dataset) -> None:
    report = blend_of(write_dataset, [None, None, None]).progress(31)
    assert [row.samples for row in report] == [4, 7, 20]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["blend=[{path: a, weight: 1}, {path: b}]"], "no weight is given for b; give one to every source"),
        (["blend=[{path: a, weight: 0}]"], r"blend\[0\].weight: 0.0 is not above 0"),
        (["blend=[{path: a}, {path: x/a}]"], "two sources are called 'a'"),
        (["blend=[]"], "the list is empty"),
        (["blend=[{path: a}]", "seq_length=0"], "seq_length: 0 is less than 1"),
    ],
)
def test_mistakes_in_the_configuration(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(DataConfig, overrides=["seq_length=8", *overrides])


def test_names_and_defaults() -> None:
    config = load_config(DataConfig, overrides=["seq_length=8", "blend=[{path: x/zh}, {path: y/zh, name: forum}]"])
    assert [source.label for source in config.blend] == ["zh", "forum"]
    assert config.validation == [] and not config.isolate_documents
