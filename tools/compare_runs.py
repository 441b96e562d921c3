"""Compares the metrics of two runs step by step: where they first differ, and by how much.

    python tools/compare_runs.py RUN_A RUN_B [--metric loss --metric grad_norm] [--tolerance 0]

Each RUN is the output_dir of a training stage, or a metrics.jsonl. Without --metric all figures are compared that both
runs have, but for times and memory. Exits with 1 where one differs by more than the tolerance, relative to the larger
of the two values.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_redone.cli import guarded
from megatron_redone.errors import EXIT_FAILURE, UserError

_OF_THE_MACHINE = ("step", "time", "seconds", "tokens_per_second", "tflops", "mfu", "memory_gb", "eta")

Figures = dict[str, dict[int, float]]
"""Values by metric and step; NaN where a record holds null."""


@dataclass(frozen=True)
class Difference:
    """How a metric of two runs differs.

    Attributes:
        steps: How many both have.
        first: The first step at which they differ by more than the tolerance; None where they never do.
        at_first: By how much, there: absolutely and relatively.
        worst: The step at which they differ most, relatively, and by how much.
    """

    metric: str
    steps: int
    first: int | None
    at_first: tuple[float, float]
    worst: tuple[int, float]


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the flags, prints a line for each metric and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs=2, type=Path, metavar="RUN", help="an output_dir or a metrics.jsonl")
    parser.add_argument("--metric", action="append", help="one to compare; may be given again")
    parser.add_argument("--tolerance", type=float, default=0.0, help="relative difference that is none")
    options = parser.parse_args(argv)
    differs: list[bool] = []
    code = guarded("compare_runs.py", lambda: differs.append(_compare(options)))
    return code or (EXIT_FAILURE if differs[0] else 0)


def _compare(options: argparse.Namespace) -> bool:
    one, two = (read_figures(path) for path in options.runs)
    names = options.metric or [name for name in one if name in two and not _is_of_the_machine(name)]
    for name in names:
        if name not in one or name not in two:
            missing = options.runs[0 if name not in one else 1]
            raise UserError(f"{name}: {missing} has no such metric; it has {', '.join(one if name in two else two)}")
    found = [differences(name, one[name], two[name], options.tolerance) for name in names]
    if not any(difference.steps for difference in found):
        raise UserError("the runs have no step in common")
    print("\n".join(_lines(found, options.runs, one, two)))
    return any(difference.first is not None for difference in found)


def read_figures(path: Path) -> Figures:
    """Every metric of a run by step; what was logged again after a restart counts, not what was before.

    Raises:
        UserError: the file is missing, or a line of it is no record.
    """
    file = path / "metrics.jsonl" if path.is_dir() else path
    found: Figures = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            for name, value in record.items():
                found.setdefault(name, {})[int(record["step"])] = math.nan if value is None else float(value)
        except (ValueError, KeyError, TypeError, AttributeError):
            if number < len(lines):  # the last one may be cut by a kill
                raise UserError(f"{file}: line {number} is no record of a run's metrics") from None
    return found


def differences(name: str, one: dict[int, float], two: dict[int, float], tolerance: float) -> Difference:
    """Compares a metric over the steps that both have; two NaN are the same, one is infinitely far."""
    steps = sorted(one.keys() & two.keys())
    relative = {step: _relative(one[step], two[step]) for step in steps}
    first = next((step for step in steps if relative[step] > tolerance), None)
    worst = max(steps, key=lambda step: relative[step], default=0)
    at_first = (0.0, 0.0) if first is None else (abs(one[first] - two[first]), relative[first])
    return Difference(name, len(steps), first, at_first, (worst, relative.get(worst, 0.0)))


def _relative(one: float, two: float) -> float:
    if one == two or (math.isnan(one) and math.isnan(two)):
        return 0.0
    if not (math.isfinite(one) and math.isfinite(two)):
        return math.inf
    return abs(one - two) / max(abs(one), abs(two))


def _is_of_the_machine(name: str) -> bool:
    return any(name == word or name.startswith(f"{word}_") for word in _OF_THE_MACHINE)


def _lines(found: Sequence[Difference], runs: Sequence[Path], one: Figures, two: Figures) -> Iterator[str]:
    for path, figures in zip(runs, (one, two), strict=True):
        steps = sorted({step for values in figures.values() for step in values})
        yield f"{path}: steps {steps[0]} to {steps[-1]}"
    width = max(len(difference.metric) for difference in found)
    for difference in found:
        yield f"  {difference.metric:<{width}}  {_told(difference)}"


def _told(difference: Difference) -> str:
    if not difference.steps:
        return "no step in common"
    if difference.first is None:
        most = f", at most {difference.worst[1]:.2g} apart" if difference.worst[1] else ""
        return f"the same on {difference.steps:,} steps{most}"
    absolute, relative = difference.at_first
    step, worst = difference.worst
    return (
        f"differs from step {difference.first} on: by {absolute:.3g} ({relative:.2g} relative) there, "
        f"by {worst:.2g} at most (step {step})"
    )


if __name__ == "__main__":
    sys.exit(main())
