"""Charts: places of points, ticks, thinning, and what is cut off."""

import re

import numpy as np
import pytest

from megatron_redone.report.charts import Line, draw_chart, nice_ticks, plain_number, smoothed
from megatron_redone.report.run_history import Series


def _line(values: list[float], steps: list[float] | None = None, **keys: bool) -> Line:
    steps = steps or [float(i) for i in range(len(values))]
    return Line(label="a", colour=0, series=Series(steps=steps, values=values), **keys)


def _points(path: str) -> np.ndarray:
    return np.array([[float(number) for number in pair.split()] for pair in re.split("[ML]", path)[1:]])


def test_points_stand_where_their_ticks_say() -> None:
    chart = draw_chart("loss", [_line([4.0, 2.0, 1.0], [0, 50, 100])])
    points = _points(chart.lines[0].path)
    assert points[:, 0].tolist() == [0, 500, 1000]
    tick_of = {tick.text: tick.at * 10 for tick in chart.y_ticks}
    for value, height in zip(("4", "2", "1"), points[:, 1], strict=True):
        assert height == pytest.approx(tick_of[value], abs=0.06)
    assert {tick.text: tick.at for tick in chart.x_ticks} == {
        "0": 0,
        "20": 20,
        "40": 40,
        "60": 60,
        "80": 80,
        "100": 100,
    }


def test_a_long_line_is_thinned_to_means_and_keeps_its_ends() -> None:
    values = np.random.default_rng(0).normal(2, 0.1, 10_007)
    chart = draw_chart("loss", [_line(values.tolist())])
    data = chart.data[0]["points"]
    assert isinstance(data, list) and len(data) == 400 and data[-1][2] == 10_006
    assert np.mean([float(point[3]) for point in data]) == pytest.approx(values.mean(), abs=1e-3)


def test_noise_does_not_press_the_other_lines_together() -> None:
    calm, wild = _line([2.0, 1.9, 1.8]), _line([2.0, 50.0, 1.8], faint=True)
    chart = draw_chart("loss", [wild, calm])
    heights = _points(next(drawn for drawn in chart.lines if not drawn.line.faint).path)[:, 1]
    assert heights.max() - heights.min() > 500, "the calm line takes more than half of the frame"
    assert _points(chart.lines[0].path)[1, 1] < 0, "the spike leaves the frame, which cuts it off"


@pytest.mark.parametrize(("values", "texts"), [([3.0], 1), ([0.0, 0.0], 1), ([1e-5, 3e-5], 3), ([0.1, 12_345.0], 3)])
def test_any_values_have_ticks_around_them(values: list[float], texts: int) -> None:
    chart = draw_chart("x", [_line(values)])
    assert len({tick.text for tick in chart.y_ticks}) == len(chart.y_ticks) >= texts
    heights = _points(chart.lines[0].path)[:, 1]
    assert ((heights >= -0.1) & (heights <= 1000.1)).all()


def test_nice_ticks_are_round_and_hold_the_range() -> None:
    for low, high in [(0, 1), (1.62, 2.4), (-3, 7), (0.00012, 0.0009), (5, 5), (98, 1_250_000)]:
        ticks = nice_ticks(low, high, 5)
        assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 9
        steps = np.diff(ticks)
        np.testing.assert_allclose(steps, steps[0])
        assert f"{steps[0]:.0e}"[0] in "125"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.5, "0.5"), (12.5, "12.5"), (999, "999"), (1500, "1.5k"), (2e6, "2M"), (1e-5, "1e-5"), (-2, "-2")],
)
def test_numbers_of_an_axis(value: float, text: str) -> None:
    assert plain_number(value) == text


def test_smoothing_is_a_moving_mean() -> None:
    values = np.random.default_rng(1).normal(size=200).tolist()
    found = smoothed(Series(steps=list(range(200)), values=values)).values
    assert found[100] == pytest.approx(np.mean(values[95:106])) and found[0] == pytest.approx(np.mean(values[:6]))
