"""Line charts as SVG that stretches with the page.

Lines and grid are drawn in a box of 1000 x 1000 that the browser stretches to whatever room there is; strokes and
dots keep their width (`vector-effect`), and all text is HTML beside the drawing, at the size of the page's own. So a
chart reads alike on a phone and on a wall, without a script.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from megatron_redone.report.run_history import Series

_POINTS = 400  # of a line; more cannot be told apart
_SIDE = 1000.0

_Place = Callable[[float, float], tuple[float, float]]
"""Step and value to x and y in the box."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a chart.

    Attributes:
        label: In the legend and under the pointer; None leaves it out of both.
        colour: A number of the page's palette.
        faint: Whether it stands behind the others, as noise behind its mean.
        dots: Whether its points are marked.
        series: What is drawn.
    """

    label: str | None
    colour: int
    series: Series
    faint: bool = False
    dots: bool = False


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A label on an axis: its place in percent from the left or from the top, and its text."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class DrawnLine:
    """A line as SVG path data in the box of 1000 x 1000."""

    line: Line
    path: str
    dots: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart, ready for the page.

    Attributes:
        title: Above it.
        lines: Back to front.
        x_ticks: Along the bottom.
        y_ticks: Along the left.
        data: What the pointer shows: for each labelled line its name, colour, and points as texts by place in percent.
    """

    title: str
    lines: list[DrawnLine]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    data: list[dict[str, object]] = field(default_factory=list)

    @property
    def legend(self) -> list[Line]:
        """The lines that have a name, in the order of their colours."""
        return sorted((drawn.line for drawn in self.lines if drawn.line.label), key=lambda line: line.colour)


def draw_chart(title: str, lines: Sequence[Line], *, from_zero: bool = False) -> Chart:
    """Draws lines over steps.

    Args:
        title: Above the chart.
        lines: Back to front, each with one point at least.
        from_zero: Whether the vertical axis begins at zero.
    """
    lines = [_thinned(line) for line in lines]
    top_step = max(line.series.steps[-1] for line in lines)
    low, high = _range(lines)
    y_values = nice_ticks(0.0 if from_zero else low, high, 5)
    low, high = y_values[0], y_values[-1]
    span = (high - low) or 1.0

    def place(step: float, value: float) -> tuple[float, float]:
        return step / max(top_step, 1) * _SIDE, (1 - (value - low) / span) * _SIDE

    return Chart(
        title=title,
        lines=[_drawn(line, place) for line in lines],
        x_ticks=[Tick(at=100 * step / max(top_step, 1), text=plain_number(step)) for step in _step_ticks(top_step)],
        y_ticks=[Tick(at=100 * (1 - (value - low) / span), text=plain_number(value)) for value in y_values],
        data=[_pointer_data(line, top_step, place) for line in lines if line.label],
    )


def _range(lines: Sequence[Line]) -> tuple[float, float]:
    """The least and the greatest value; of noise, only what lies near the other lines."""
    calm = [value for line in lines if not line.faint for value in line.series.values]
    noise = [value for line in lines if line.faint for value in line.series.values]
    low, high = min(calm), max(calm)
    margin = 0.15 * (high - low)
    return max(low - margin, min([low, *noise])), min(high + margin, max([high, *noise]))


def smoothed(series: Series) -> Series:
    """The mean over a window of a twentieth of the points, at every point."""
    width = max(5, len(series.values) // 20)
    half = width // 2
    means = []
    for at in range(len(series.values)):
        near = series.values[max(0, at - half) : at + half + 1]
        means.append(sum(near) / len(near))
    return Series(steps=series.steps, values=means)


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` multiples of 1, 2 or 5 times a power of ten, from `low` or below to `high` or above."""
    if not high > low:
        low, high = (low - 0.5, low + 0.5) if low == 0 else sorted((low * 0.9, low * 1.1))
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def plain_number(value: float) -> str:
    """A number for an axis: `1.5`, `20k`, `3e-5`."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1000:
        for suffix, unit in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
            if size >= unit:
                return f"{value / unit:.4g}{suffix}"
    if size < 1e-3:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.4g}"


def _step_ticks(last: float) -> list[float]:
    return [step for step in nice_ticks(0, max(last, 1), 5) if step <= last and step == int(step)]


def _thinned(line: Line) -> Line:
    """At most `_POINTS` points, each the mean of its neighbours, at the place of the last of them."""
    count = len(line.series.values)
    if count <= _POINTS:
        return line
    borders = [count * i // _POINTS for i in range(_POINTS + 1)]
    groups = list(itertools.pairwise(borders))
    values = [sum(line.series.values[a:b]) / (b - a) for a, b in groups]
    series = Series(steps=[line.series.steps[b - 1] for _, b in groups], values=values)
    return Line(label=line.label, colour=line.colour, series=series, faint=line.faint, dots=line.dots)


def _drawn(line: Line, place: _Place) -> DrawnLine:
    points = [place(step, value) for step, value in zip(line.series.steps, line.series.values, strict=True)]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    # A line of no length with round ends is a dot that no stretching makes an ellipse.
    dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points) if line.dots or len(points) == 1 else ""
    return DrawnLine(line=line, path=path, dots=dots)


def _pointer_data(line: Line, top_step: float, place: _Place) -> dict[str, object]:
    points = [
        [round(100 * step / max(top_step, 1), 2), round(place(step, value)[1] / 10, 2), int(step), f"{value:.4g}"]
        for step, value in zip(line.series.steps, line.series.values, strict=True)
    ]
    return {"label": line.label, "colour": line.colour, "points": points}
