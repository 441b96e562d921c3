"""Tables, the picture and benchmarks/results/small_steps.json from the runs of tools/small_steps/run.py.

    python -m tools.small_steps.report --work DIR [--also FILE.json ...] [--picture docs/small_steps.png]

Files of --also hold further metrics (the costs, as tools/benchmarks/bf16_rounding.py prints them). The picture
needs matplotlib.
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.benchmarks.recording import record

Run = dict[str, Any]
Runs = dict[tuple[str, float, str], list[Run]]
NOTES = (
    "SmolLM2-135M-Instruct from a bf16 checkpoint; cpt: 200 steps of 128 tokens of English posts; dpo: 100 steps of 2 "
    "pairs of hh-rlhf (harmless), beta 0.1; fp8: 100 steps of 128 tokens, emulated; constant learning rates after ten "
    "steps of warm-up, AdamW, one process. All weights are judged in fp32 on what was held out (32 rows, 64 pairs). "
    "*_rel_diff: of the held-out loss of the main weights from the fp32 run's of the same seed, the greatest of all "
    "seeds by magnitude; *_margin_*_vs_fp32: margin of the rewards over the fp32 run's, the mean over seeds; export_*: "
    "the weights as bf16 files hold them. nearest: main weights begin on bf16 values, as everywhere else."
)


def main() -> None:
    """Reads, prints, writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="of tools/small_steps/run.py"
    )
    parser.add_argument(
        "--also",
        type=Path,
        nargs="*",
        default=[],
        help="JSON objects with further metrics",
    )
    parser.add_argument(
        "--picture", type=Path, help="where to draw the course of the losses"
    )
    parser.add_argument("--notes", default="", help="added to the result")
    options = parser.parse_args()
    runs = read_runs(options.work)
    print("\n".join(tables(runs)))
    found = metrics(runs)
    for file in options.also:
        found |= json.loads(file.read_text())
    packages = ("megatron_redone", "megatron-core", "torch", "transformers", "trl")
    record("small_steps", found, packages, f"{NOTES} {options.notes}".strip())
    if options.picture:
        draw(runs, options.picture)


def read_runs(work: Path) -> Runs:
    """All results, by task, rate and side; in each the seeds in order."""
    runs: Runs = defaultdict(list)
    for file in sorted((work / "runs").rglob("*.json")):
        run = json.loads(file.read_text())
        runs[run["task"], run["lr"], run["side"]].append(run)
    return runs


def held_out(run: Run, form: str, figure: str = "loss") -> float:
    """A figure of one form of the weights; `export` is what a bf16 file holds as the run leaves it."""
    if form == "export":
        form = "model" if "model" in run else "nearest"
    return run[form][figure]


def by_seed(
    runs: Runs, task: str, lr: float, side: str, base: str
) -> Iterator[tuple[Run, Run]]:
    """Runs of a side beside those of another, seed by seed."""
    bases = {run["seed"]: run for run in runs.get((task, lr, base), [])}
    for run in runs.get((task, lr, side), []):
        if run["seed"] in bases:
            yield run, bases[run["seed"]]


def differences(runs: Runs, task: str, lr: float, side: str, form: str) -> list[float]:
    """Relative differences of the held-out loss from the fp32 run's main weights."""
    return [
        held_out(a, form) / held_out(b, "main") - 1
        for a, b in by_seed(runs, task, lr, side, "fp32")
    ]


def metrics(runs: Runs) -> dict[str, float]:
    """Flat names and numbers."""
    found: dict[str, float] = {}
    for task, lr, side in runs:
        if side == "fp32":
            continue
        name = f"{task}_{rate(lr)}"
        for form, word in (("main", ""), ("export", "export_")):
            values = differences(runs, task, lr, side, form)
            if values:
                found[f"{name}_{word}{side}_rel_diff"] = max(values, key=abs)
        if task == "dpo":
            for form, word in (("main", ""), ("export", "export_")):
                ratio = margin_ratio(runs, lr, side, form)
                found[f"{name}_{word}margin_{side}_vs_fp32"] = ratio
    for (task, lr, side), several in runs.items():
        name = f"{task}_{rate(lr)}"
        found[f"{name}_{side}_seeds"] = len(several)
        found[f"{name}_{side}_loss"] = statistics.mean(
            held_out(run, "main") for run in several
        )
        found[f"{name}_{side}_export_loss"] = statistics.mean(
            held_out(run, "export") for run in several
        )
        if side == "fp32":
            found[f"{name}_start_loss"] = several[0]["start"]["loss"]
            found[f"{name}_fp32_export_nearest_rel_diff"] = max(
                exported(several, "nearest"), key=abs
            )
            found[f"{name}_fp32_export_stochastic_rel_diff"] = max(
                exported(several, "stochastic"), key=abs
            )
    dithered = [
        v
        for task, lr, side in runs
        if side == "dithered"
        for v in differences(runs, task, lr, side, "export")
    ]
    if dithered:
        found["export_dithered_rel_diff"] = max(dithered, key=abs)
    return dict(sorted(found.items()))


def exported(several: list[Run], form: str) -> list[float]:
    """What rounding at export costs, as a fraction of the loss of the main weights."""
    return [run[form]["loss"] / run["main"]["loss"] - 1 for run in several]


def margin_ratio(runs: Runs, lr: float, side: str, form: str) -> float:
    """Mean margin over seeds, over that of the fp32 runs of the same seeds."""
    pairs = list(by_seed(runs, "dpo", lr, side, "fp32"))
    ours, base = (sum(values) for values in zip(*[
        (held_out(a, form, "margin"), held_out(b, "main", "margin")) for a, b in pairs], strict=True))  # fmt: skip
    return ours / base


def tables(runs: Runs) -> Iterator[str]:
    """Markdown: a row a side, mean over seeds; in brackets the greatest difference from fp32 of one seed."""
    groups = sorted(
        {(task, lr) for task, lr, _ in runs}, key=lambda group: (group[0], -group[1])
    )
    for task, lr in groups:
        margin = " margin; exported |" if task == "dpo" else ""
        yield f"\n{task}, {rate(lr)}:\n"
        yield f"| run | held-out loss | exported in bf16 |{margin} changed weights |"
        yield "| --- | --- | --- |" + " --- |" * (2 if margin else 1)
        start = (
            runs[task, lr, "fp32"][0]["start"]["loss"]
            if (task, lr, "fp32") in runs
            else 0.0
        )
        yield f"| before | {start:.4f} | |" + (" |" if margin else "") + " |"
        for side in sorted(side for t, r, side in runs if (t, r) == (task, lr)):
            yield from _rows(runs, task, lr, side)


def _rows(runs: Runs, task: str, lr: float, side: str) -> Iterator[str]:
    several = runs[task, lr, side]
    for form in ("nearest", "stochastic") if side == "fp32" else ("export",):
        cells = []
        for which in ("main", form):
            mean = statistics.mean(held_out(run, which) for run in several)
            values = [
                held_out(a, which) / held_out(b, "main") - 1
                for a, b in by_seed(runs, task, lr, side, "fp32")
            ]
            cells.append(
                f"{mean:.4f} ({100 * max(values, key=abs):+.2f} %)"
                if values
                else f"{mean:.4f}"
            )
        if task == "dpo":
            margins = [
                statistics.mean(held_out(run, which, "margin") for run in several)
                for which in ("main", form)
            ]
            cells.append("; ".join(f"{margin:.4f}" for margin in margins))
        changed = [
            value
            for run in several
            for key, value in run["changed"].items()
            if key in (form, "model")
        ]
        cells.append(f"{100 * statistics.mean(changed):.1f} %" if changed else "")
        name = f"{side}, exported {form}" if side == "fp32" else side
        yield f"| {name} ({len(several)}) | " + " | ".join(cells) + " |"


def rate(lr: float) -> str:
    """1e-05 as 1e-5."""
    return f"{lr:.0e}".replace("e-0", "e-")


def draw(runs: Runs, path: Path) -> None:
    """What of the fp32 run's gain each side keeps, in the run and in the bf16 export."""
    import matplotlib  # pyright: ignore[reportMissingImports]

    matplotlib.use("Agg")
    from matplotlib import pyplot  # pyright: ignore[reportMissingImports]

    groups = [("cpt", 1e-4), ("cpt", 1e-5), ("cpt", 1e-6), ("dpo", 1e-6), ("dpo", 7e-7)]
    sides = [("nearest", "bf16, as everywhere", "#b8b8b8"), ("stochastic", "bf16, rounded stochastically", "#7aa6c2"),
             ("dithered", "bf16, dithered", "#c0392b")]  # fmt: skip
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.8), sharey=True)
    for axis, form, title in zip(
        axes, ("main", "export"), ("while it trains", "exported in bf16"), strict=True
    ):
        bars = [("fp32", "fp32", "#333333"), *sides] if form == "export" else sides
        for number, (side, label, colour) in enumerate(bars):
            heights = [100 * _kept(runs, task, lr, side, form) for task, lr in groups]
            places = [
                group + (number - (len(bars) - 1) / 2) * 0.2
                for group in range(len(groups))
            ]
            axis.bar(places, heights, 0.19, label=label, color=colour)
        axis.axhline(100, color="black", linewidth=0.8, linestyle=":")
        axis.set_xticks(
            range(len(groups)),
            [f"{'DPO' if t == 'dpo' else 'CPT'}\n{rate(lr)}" for t, lr in groups],
        )
        axis.set_title(title, fontsize=11)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(
            fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.06)
        )
    axes[0].set_ylabel("of fp32's gain on held-out text, %")
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def _kept(runs: Runs, task: str, lr: float, side: str, form: str) -> float:
    """The drop of the held-out loss as a fraction of the drop under fp32."""
    pairs = list(by_seed(runs, task, lr, side, "fp32"))
    gain = sum(b["start"]["loss"] - held_out(b, "main") for _, b in pairs)
    return (
        sum(a["start"]["loss"] - held_out(a, form) for a, _ in pairs) / gain
        if pairs
        else 0.0
    )


if __name__ == "__main__":
    main()
