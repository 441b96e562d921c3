"""Tables, the picture and benchmarks/results/small_steps.json from the runs of tools/small_steps/run.py.

    python -m tools.small_steps.report [--work DIR] [--also FILE.json ...] [--picture docs/small_steps.png]

Runs of --work are kept (kept.py), and all that are kept are reported. Figures on record that rest on more seeds stay
as they are. Files of --also hold further metrics (the costs, as tools/benchmarks/main_weights.py prints them). The
picture needs matplotlib.
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.benchmarks.recording import RESULTS, record_part
from tools.small_steps.kept import Run, keep_runs, kept_runs

Runs = dict[tuple[str, float, str], list[Run]]
NOTES = (
    "SmolLM2-135M-Instruct from a bf16 checkpoint; cpt: 200 steps of 128 tokens of English posts; dpo: 100 steps of 2 "
    "pairs of hh-rlhf (harmless), beta 0.1; fp8: 100 steps of 128 tokens, emulated; constant learning rates after ten "
    "steps of warm-up, AdamW, one process. All weights are judged in fp32 on what was held out (32 rows, 64 pairs). "
    "*_rel_diff: of the held-out loss of the bf16 weights, which the run computes with and exports, from that of the "
    "fp32 run's weights of the same seed, the seed that differs most; *_mean_rel_diff: over seeds; *_main_*: of the "
    "fp32 main weights instead; *_margin_*_vs_fp32: margin of the rewards over the fp32 run's, of all seeds together; "
    "*_fp32_export_*: what an fp32 run loses when it is exported in bf16; export_dithered_rel_diff: the same of "
    "dithered bf16 runs, the greatest. nearest: main weights begin on bf16 values, as everywhere else. fp32_dithered: "
    "fp32 runs whose weights begin where dithered main weights do, which shows how far equal runs drift apart. "
    "RECIPE-fp32: all but FP8 products in fp32, so that main weights round to FP8 at once, as under fp8_param_gather."
)


def main() -> None:
    """Reads, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="of tools/small_steps/run.py: runs to be kept")
    parser.add_argument(
        "--also",
        type=Path,
        nargs="*",
        default=[],
        help="JSON objects with further metrics",
    )
    parser.add_argument("--picture", type=Path, help="where to draw the course of the losses")
    parser.add_argument("--notes", default="", help="added to the result")
    options = parser.parse_args()
    runs = grouped(keep_runs(options.work) if options.work else kept_runs())
    print("\n".join(tables(runs)))
    on_record = json.loads((RESULTS / "small_steps.json").read_text(encoding="utf-8"))["metrics"]
    found = metrics(runs, on_record)
    for file in options.also:
        found |= json.loads(file.read_text())
    packages = ("megatron_redone", "megatron-core", "torch", "transformers", "trl")
    record_part("small_steps", "runs", found, packages, f"{NOTES} {options.notes}".strip())
    if options.picture:
        draw(runs, options.picture)


def grouped(kept: Mapping[str, Run]) -> Runs:
    """By task, rate and side; in each the seeds in order."""
    runs: Runs = defaultdict(list)
    for run in sorted(kept.values(), key=lambda run: run["seed"]):
        runs[run["task"], run["lr"], run["side"]].append(run)
    return runs


def held_out(run: Run, form: str, figure: str = "loss") -> float:
    """A figure of one form of the weights; `export` is what a bf16 file holds as the run leaves it."""
    if form == "export":
        form = "model" if "model" in run else "nearest"
    return run[form][figure]


def by_seed(runs: Runs, task: str, lr: float, side: str, base: str) -> Iterator[tuple[Run, Run]]:
    """Runs of a side beside those of another, seed by seed."""
    bases = {run["seed"]: run for run in runs.get((task, lr, base), [])}
    for run in runs.get((task, lr, side), []):
        if run["seed"] in bases:
            yield run, bases[run["seed"]]


def differences(runs: Runs, task: str, lr: float, side: str, form: str) -> list[float]:
    """Relative differences of the held-out loss from the fp32 run's main weights, of the seeds that were judged so."""
    pairs = by_seed(runs, task, lr, side, "fp32")
    return [held_out(a, form) / held_out(b, "main") - 1 for a, b in pairs if form == "export" or form in a]


def metrics(runs: Runs, on_record: Mapping[str, float]) -> dict[str, float]:
    """Flat names and numbers, but for those that are on record from more seeds."""
    found: dict[str, float] = {}
    for task, lr, side in runs:
        name = f"{task}_{rate(lr)}"
        of_side = dict(_of_fp32(runs, name, task, lr) if side == "fp32" else _of_side(runs, name, task, lr, side))
        seeds = f"{name}_{side}_seeds"
        if of_side and of_side[seeds] >= on_record.get(seeds, 0):
            found |= of_side
    lost = [loss for (_, _, side), several in runs.items() if side == "dithered" for loss in exported(several, "model")]
    if lost:
        name = "export_dithered_rel_diff"
        found[name] = greatest([*lost, on_record.get(name, 0.0)])
    return dict(sorted(found.items()))


def _of_fp32(runs: Runs, name: str, task: str, lr: float) -> Iterator[tuple[str, float]]:
    several = runs[task, lr, "fp32"]
    yield f"{name}_fp32_seeds", len(several)
    yield f"{name}_start_loss", several[0]["start"]["loss"]
    yield f"{name}_fp32_loss", mean_loss(several, "main")
    for form in ("nearest", "stochastic"):
        if lost := exported(several, form):
            yield f"{name}_fp32_export_{form}_rel_diff", greatest(lost)


def _of_side(runs: Runs, name: str, task: str, lr: float, side: str) -> Iterator[tuple[str, float]]:
    several = list(by_seed(runs, task, lr, side, "fp32"))
    if not several:
        return
    yield f"{name}_{side}_seeds", len(several)
    yield f"{name}_{side}_loss", mean_loss([run for run, _ in several], "export")
    for form, word in (("export", ""), ("main", "main_")):
        values = differences(runs, task, lr, side, form)
        if values:
            yield f"{name}_{word}{side}_rel_diff", greatest(values)
            yield f"{name}_{word}{side}_mean_rel_diff", statistics.mean(values)
    if task == "dpo":
        yield f"{name}_margin_{side}_vs_fp32", margin_ratio(runs, lr, side)


def greatest(values: list[float]) -> float:
    """The one that is farthest from 0."""
    return max(values, key=abs)


def mean_loss(several: list[Run], form: str) -> float:
    """Over seeds."""
    return statistics.mean(held_out(run, form) for run in several)


def exported(several: list[Run], form: str) -> list[float]:
    """What a bf16 file loses of the main weights' held-out loss, as a fraction of it."""
    return [run[form]["loss"] / run["main"]["loss"] - 1 for run in several if form in run and "main" in run]


def margin_ratio(runs: Runs, lr: float, side: str) -> float:
    """Mean margin over seeds, over that of the fp32 runs of the same seeds."""
    pairs = list(by_seed(runs, "dpo", lr, side, "fp32"))
    base = sum(held_out(b, "main", "margin") for _, b in pairs)
    return sum(held_out(a, "export", "margin") for a, _ in pairs) / base


def tables(runs: Runs) -> Iterator[str]:
    """Markdown: a row a side, the mean over seeds; from fp32, in percent: the difference of each seed."""
    groups = sorted({(task, lr) for task, lr, _ in runs}, key=lambda group: (group[0], -group[1]))
    for task, lr in groups:
        margin = " margin |" if task == "dpo" else ""
        yield f"\n{task}, {rate(lr)}:\n"
        yield f"| run (seeds) | held-out loss | from fp32, % |{margin} changed weights |"
        yield "| --- | --- | --- |" + " --- |" * (2 if margin else 1)
        start = runs[task, lr, "fp32"][0]["start"]["loss"] if (task, lr, "fp32") in runs else 0.0
        yield f"| before | {start:.4f} | |" + (" |" if margin else "") + " |"
        for side in sorted(side for t, r, side in runs if (t, r) == (task, lr)):
            yield from _rows(runs, task, lr, side)


def _rows(runs: Runs, task: str, lr: float, side: str) -> Iterator[str]:
    several = runs[task, lr, side]
    forms = ("main", "nearest", "stochastic") if side == "fp32" else ("export",)
    for form in forms:
        judged = [run for run in several if form == "export" or form in run]
        if not judged:
            continue
        values = differences(runs, task, lr, side, form)
        cells = [f"{mean_loss(judged, form):.4f}", ", ".join(f"{100 * value:+.2f}" for value in values)]
        if task == "dpo":
            cells.append(f"{statistics.mean(held_out(run, form, 'margin') for run in judged):.4f}")
        changed = [run["changed"][key] for run in judged for key in (form, "model", "nearest") if key in run["changed"]]
        cells.append(f"{100 * changed[0]:.1f} %" if form != "main" else "")
        name = {"main": "fp32", "nearest": "fp32, exported to the nearest", "stochastic": "fp32, exported by chance"}
        yield f"| {name.get(form, side)} ({len(judged)}) | " + " | ".join(cells) + " |"


def rate(lr: float) -> str:
    """1e-05 as 1e-5."""
    return f"{lr:.0e}".replace("e-0", "e-")


def draw(runs: Runs, path: Path) -> None:
    """What of the fp32 run's gain is left in a bf16 file."""
    import matplotlib  # pyright: ignore[reportMissingImports]

    matplotlib.use("Agg")
    from matplotlib import pyplot  # pyright: ignore[reportMissingImports]

    groups = [("cpt", 1e-4), ("cpt", 1e-5), ("cpt", 1e-6), ("dpo", 1e-6), ("dpo", 7e-7)]
    bars = [("fp32", "nearest", "fp32 run, rounded to the nearest", "#9a9a9a"),
            ("nearest", "export", "bf16 run, as everywhere", "#d0d0d0"),
            ("dithered", "export", "bf16 run, dithered main weights (default)", "#c0392b"),
            ("fp32", "stochastic", "fp32 run, rounded stochastically (default)", "#7aa6c2")]  # fmt: skip
    figure, axis = pyplot.subplots(figsize=(9, 4))
    for number, (side, form, label, colour) in enumerate(bars):
        places = [group + (number - 1.5) * 0.2 for group in range(len(groups))]
        axis.bar(places, [100 * _kept(runs, *group, side, form) for group in groups], 0.19, label=label, color=colour)
    axis.axhline(100, color="black", linewidth=0.8, linestyle=":")
    names = {"cpt": "continued\npretraining", "dpo": "DPO"}
    axis.set_xticks(range(len(groups)), [f"{names[task]}\n{rate(lr)}" for task, lr in groups])
    axis.set_ylabel("gain on held-out data left\nin the bf16 export, % of fp32's")
    axis.set_ylim(0, 125)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=9, frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _kept(runs: Runs, task: str, lr: float, side: str, form: str) -> float:
    """The drop of the held-out loss as a fraction of the drop under fp32, of all seeds together."""
    pairs = [(a, b) for a, b in by_seed(runs, task, lr, side, "fp32") if form == "export" or form in a]
    gain = sum(b["start"]["loss"] - held_out(b, "main") for _, b in pairs)
    return sum(a["start"]["loss"] - held_out(a, form) for a, _ in pairs) / gain if pairs else 0.0


if __name__ == "__main__":
    main()
