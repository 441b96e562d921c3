"""mixture.json of `redone optimize-mixture` as pictures: what was predicted, what won, and what each source does."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from megatron_redone.report.charts import Tick, nice_ticks, plain_number

_SIDE = 1000.0
_BEST = 3  # measured mixtures that stand beside the proposal
_COLOURS = 6
_TICKS = 4


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Points or a line of one colour: SVG path data in a box of 1000 x 1000, `style` being `dot` or `line`."""

    label: str | None
    colour: int
    style: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of points and lines over two axes."""

    title: str
    across: str
    marks: list[Marks]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


@dataclass(frozen=True, kw_only=True)
class MixtureColumn:
    """One of the mixtures side by side: its weights in percent, by source."""

    title: str
    weights: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class MixtureView:
    """What the page shows of a search.

    Attributes:
        content: Of mixture.json.
        columns: The proposal, the prior and the best measured mixtures.
        pictures: Predicted against measured, the effect of each part, loss against the weight of each.
    """

    content: Mapping[str, Any]
    columns: list[MixtureColumn]
    pictures: list[Picture]


def mixture_view(content: Mapping[str, Any]) -> MixtureView:
    """The view of a search.

    Raises:
        KeyError, TypeError: this is no mixture.json.
    """
    runs = [run for run in content["runs"] if run["loss"] is not None]
    pictures = [_predicted_against_measured(runs), _effects(content)] if content["regressions"] else []
    pictures += [_loss_against_weight(runs, number, part) for number, part in enumerate(content["parts"]) if runs]
    return MixtureView(content=content, columns=list(_columns(content, runs)), pictures=pictures)


def render_mixture(content: Mapping[str, Any]) -> str:
    """The part of the page on a search, as HTML."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = files("megatron_redone.report").joinpath("mixture.html").read_text(encoding="utf-8")
    return environment.from_string(text).render(view=mixture_view(content), colours=_COLOURS)


def _columns(content: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> Iterator[MixtureColumn]:
    yield _column("proposed", content["mixture"])
    yield _column("prior", {source["name"]: source["prior"] for source in content["sources"]})
    best = sorted(runs, key=lambda run: run["loss"])[:_BEST]
    for place, run in enumerate(best, 1):
        yield _column(f"measured, no. {place} ({run['loss']:.3f})", run["weights"])


def _column(title: str, weights: Mapping[str, float]) -> MixtureColumn:
    return MixtureColumn(title=title, weights={name: 100 * weight for name, weight in weights.items()})


def _predicted_against_measured(runs: Sequence[Mapping[str, Any]]) -> Picture:
    known = [run for run in runs if run["predicted"] is not None]
    points = {
        "fitted": [(run["loss"], run["predicted"]) for run in known if not run["kept_out"]],
        "kept out": [(run["loss"], run["predicted"]) for run in known if run["kept_out"]],
    }
    both = [value for pairs in points.values() for pair in pairs for value in pair]
    line = [(min(both), min(both)), (max(both), max(both))]
    return _picture("Predicted against measured loss", "measured", points, {"equal": line}, square=True)


def _effects(content: Mapping[str, Any]) -> Picture:
    curves = {part: [(100 * x, y) for x, y in curve] for part, curve in content["effects"].items()}
    return _picture("Effect of each source, the others as proposed", "its weight, percent", {}, curves)


def _loss_against_weight(runs: Sequence[Mapping[str, Any]], number: int, part: str) -> Picture:
    points = {part: [(100 * run["parts"][number], run["loss"]) for run in runs]}
    return _picture(f"Measured loss against the weight of {part}", "its weight, percent", points, {})


_Points = Sequence[tuple[float, float]]


def _picture(
    title: str, across: str, points: Mapping[str, _Points], lines: Mapping[str, _Points], square: bool = False
) -> Picture:
    everything = [pair for pairs in (*points.values(), *lines.values()) for pair in pairs]
    x_ticks = nice_ticks(min(x for x, _ in everything), max(x for x, _ in everything), _TICKS)
    y_ticks = x_ticks if square else nice_ticks(min(y for _, y in everything), max(y for _, y in everything), _TICKS)

    def place(x: float, y: float) -> str:
        across, up = _fraction(x, x_ticks), _fraction(y, y_ticks)
        return f"{across * _SIDE:.1f} {(1 - up) * _SIDE:.1f}"

    marks = [
        Marks(label=label, colour=number % _COLOURS, style="line", path="M" + "L".join(place(*pair) for pair in pairs))
        for number, (label, pairs) in enumerate(lines.items(), 2 if points else 0)
    ]
    marks += [
        Marks(label=label, colour=number % _COLOURS, style="dot", path="".join(f"M{place(*pair)}h0" for pair in pairs))
        for number, (label, pairs) in enumerate(points.items())
    ]
    return Picture(
        title=title,
        across=across,
        marks=marks,
        x_ticks=[Tick(at=100 * _fraction(x, x_ticks), text=plain_number(x)) for x in x_ticks],
        y_ticks=[Tick(at=100 * (1 - _fraction(y, y_ticks)), text=plain_number(y)) for y in y_ticks],
    )


def _fraction(value: float, ticks: Sequence[float]) -> float:
    return (value - ticks[0]) / (ticks[-1] - ticks[0])
