"""What a search leaves: blend.yaml for pretraining, mixture.json for programs, mixture.md for people, a manifest."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from megatron_redone.config.blend_file import blend_yaml
from megatron_redone.config.data import BlendSource
from megatron_redone.config.optimize_mixture import OptimizeMixtureConfig
from megatron_redone.formats.atomic import write_text
from megatron_redone.formats.done_check import Finished, read_sealed, write_sealed
from megatron_redone.formats.file_record import record_files
from megatron_redone.metrics.progress import scaled
from megatron_redone.mixture import baselines
from megatron_redone.mixture.former_search import FORMAT, RESULT
from megatron_redone.mixture.proxy_runs import ProxyRuns, as_json
from megatron_redone.mixture.search import Found, effects
from megatron_redone.mixture.search_data import SearchData

BLEND, TABLE, MANIFEST = "blend.yaml", "mixture.md", "manifest.json"


def finished_search(output: Path) -> Finished | None:
    """What the manifest of a folder says; None where there is none."""
    path = output / MANIFEST
    if not path.exists():
        return None
    content, is_intact = read_sealed(path)
    if content is None or not is_intact:
        return Finished((content or {}).get("work"), {}, path, is_intact=False)
    return Finished(content["work"], {output / name: record for name, record in content["files"].items()}, path)


def write_search(
    output: Path, config: OptimizeMixtureConfig, data: SearchData, found: Found, runs: ProxyRuns, work: str
) -> None:
    """Writes all files, the manifest last."""
    (output / MANIFEST).unlink(missing_ok=True)
    content = _content(config, data, found, runs)
    write_sealed(output / RESULT, content)
    write_text(output / TABLE, markdown(content))
    write_text(output / BLEND, _blend(config, found.mixture))
    files = record_files(output, [output / name for name in (RESULT, TABLE, BLEND)])
    write_sealed(output / MANIFEST, {"work": work, "files": files})


def _blend(config: OptimizeMixtureConfig, mixture: Mapping[str, float]) -> str:
    return blend_yaml(
        [
            BlendSource(path=source.path, name=source.label, weight=mixture[source.label])
            for source in config.sources
            if mixture[source.label] > 0
        ]
    )


def _content(config: OptimizeMixtureConfig, data: SearchData, found: Found, runs: ProxyRuns) -> dict[str, Any]:
    chosen = found.regressions[0] if found.regressions else None
    return {
        "format": FORMAT,
        "facts": data.facts,
        "sources": [
            {"name": name, "tokens": int(tokens), "prior": float(prior), "cap": float(cap)}
            for name, tokens, prior, cap in zip(data.names, data.tokens, data.prior, data.caps, strict=True)
        ],
        "target": {one.label: one.weight for one in config.target},
        "parts": list(found.space.parts),
        "mixture": found.mixture,
        "kl_weight": config.kl_weight,
        "proposal": {
            "loss": _number(found.proposal.loss),
            "divergence": found.proposal.divergence,
            "gap": found.proposal.gap,
        },
        "regressions": [
            {"name": one.name, "rank_correlation": one.rank_correlation, "error": one.error}
            for one in found.regressions
        ],
        "noise_between_seeds": _number(found.noise),
        "singles": found.singles,
        "table": [baselines.as_json(row) for row in found.rows],
        "effects": effects(found) if chosen is not None else {},
        "runs": [
            {
                **as_json(proxy, runs.result(proxy)),
                "parts": found.design.weights[number].tolist(),
                "kept_out": bool(found.design.kept_out[number]),
                "loss": _number(float(found.losses[number] @ _target_weights(config))),
                "predicted": None if chosen is None else _number(float(chosen.predicted[number])),
            }
            for number, proxy in enumerate(found.proxies)
        ],
    }


def _target_weights(config: OptimizeMixtureConfig) -> list[float]:
    total = sum(one.weight for one in config.target)
    return [one.weight / total for one in config.target]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def markdown(content: Mapping[str, Any]) -> str:
    """The result for people: the mixture, who won, and how well the regressions rank."""
    return "\n".join([*_mixture_lines(content), "", *_table_lines(content), "", *_regression_lines(content), ""])


def _mixture_lines(content: Mapping[str, Any]) -> Iterator[str]:
    yield "| source | tokens | prior | mixture | at most |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for source in content["sources"]:
        weight = content["mixture"][source["name"]]
        cap = "" if source["cap"] >= 1 else f"{100 * source['cap']:.1f} %"
        yield (
            f"| {source['name']} | {scaled(source['tokens'])} | {100 * source['prior']:.1f} % | {100 * weight:.1f} % "
            f"| {cap} |"
        )


def _table_lines(content: Mapping[str, Any]) -> Iterator[str]:
    yield "| mixture | target loss (95 %) | winner minus it (95 %) | |"
    yield "| --- | ---: | ---: | --- |"
    for row in content["table"]:
        difference = ""
        if row["winner_minus"] is not None:
            difference = f"{row['winner_minus']:+.4f}{_plus_minus(row['winner_minus_half_width'])}"
        yield (
            f"| {row['name']} | {row['mean']:.4f}{_plus_minus(row['half_width'])} | {difference} | {row['verdict']} |"
        )


def _plus_minus(half_width: float | None) -> str:
    return "" if half_width is None else f" ± {half_width:.4f}"


def _regression_lines(content: Mapping[str, Any]) -> Iterator[str]:
    kept_out = sum(run["kept_out"] for run in content["runs"])
    for number, one in enumerate(content["regressions"]):
        chosen = " (chosen)" if number == 0 else ""
        yield (
            f"- {one['name']}{chosen}: rank correlation {one['rank_correlation']:.3f} and error {one['error']:.4f} "
            f"over {kept_out} mixtures kept out"
        )
    diverged = [run["name"] for run in content["runs"] if run["diverged"] is not None]
    if diverged:
        yield f"- left out, for they diverged: {', '.join(diverged)}"
    if content["noise_between_seeds"] is not None:
        yield f"- deviation between seeds of one mixture: {content['noise_between_seeds']:.4f}"
