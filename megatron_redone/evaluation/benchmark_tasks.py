"""The benchmarks of a configuration as tasks that any model can be given."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from megatron_redone.config.evaluate import BenchmarkSource, EvaluateConfig
from megatron_redone.evaluation.benchmark_metrics import answer_shares, benchmark_metrics
from megatron_redone.evaluation.benchmark_runs import BenchmarkTask, find_tasks, run_task
from megatron_redone.evaluation.bootstrap import value_of
from megatron_redone.evaluation.examples import Examples
from megatron_redone.evaluation.harness_model import Asking, HarnessModel, Responses
from megatron_redone.evaluation.metric_definitions import Kind, Results
from megatron_redone.evaluation.rule_model import RuleModel, rules_for
from megatron_redone.evaluation.task_definitions import Benchmark, Task
from megatron_redone.evaluation.thinking import Thinking
from megatron_redone.formats.file_record import folder_sha256
from megatron_redone.formats.hf_folder import find_hf_folder
from megatron_redone.generation.hf_model import LoadedModel
from megatron_redone.generation.log_probabilities import Advance, BatchLimits
from megatron_redone.generation.model_files import folder_fingerprint

_ALL = 1 << 40


def build_benchmarks(config: EvaluateConfig) -> Iterator[Task]:
    """Reads the items, in the order of the configuration.

    Raises:
        UserError: a task that is not there, or whose data cannot be used; an embedding that is none.
    """
    for source in config.benchmarks:
        found = find_tasks(source, source.max_records or _ALL, config.sample_seed)
        files = _files(source, Path(config.output))
        for benchmark in found:
            yield _task(config, source, benchmark, files, alone=len(found) == 1)


def _files(source: BenchmarkSource, output: Path) -> dict[str, str]:
    """What identifies the content of files that decide scores and that no item holds, by the key that names them."""
    embeddings = {"embedding": source.embedding, "stand_in_embedding": source.stand_in_embedding}
    folders = {key: find_hf_folder(path) for key, path in embeddings.items() if path is not None}
    own = {} if source.include is None else {"include": folder_sha256(Path(source.include), besides=output)}
    return own | {key: folder_fingerprint(folder, folder) for key, folder in folders.items()}


def _task(
    config: EvaluateConfig, source: BenchmarkSource, benchmark: BenchmarkTask, files: dict[str, str], alone: bool
) -> Task:
    asking = Asking(
        limits=BatchLimits(config.batch_size, config.batch_tokens),
        max_tokens=config.max_tokens,
        thinking=Thinking(source.thinking, source.thinking_tokens),
        max_new_tokens=source.max_new_tokens,
    )
    chat = benchmark.chat if source.chat is None else source.chat
    docs = benchmark.docs

    def evaluate(model: LoadedModel, advance: Advance, responses: Responses | None = None) -> list[dict[str, Any]]:
        return run_task(benchmark, HarnessModel(model, asking, advance, responses), chat)

    return Task(
        kind=Kind.benchmarks,
        name=source.label if alone else f"{source.label} {benchmark.source}",
        side=source.label,
        source=Examples(docs, len(benchmark.task.eval_docs), [], []),
        settings={
            "benchmark": benchmark.digest,
            "files": files,
            "chat": chat,
            "max_tokens": config.max_tokens,
            "max_new_tokens": source.max_new_tokens,
            "thinking": source.thinking and source.thinking_tokens,
        },
        evaluate=evaluate,
        benchmark=Benchmark(
            path=source.label if alone else benchmark.source,
            headlines=benchmark.headlines,
            variant_of="" if alone else benchmark.variant_of,
            metrics=partial(benchmark_metrics, benchmark.task, scoring=source.scoring),
            shares=partial(answer_shares, scoring=source.scoring),
            without_model=partial(_without_model, benchmark, source, config.sample_seed),
            evaluate=evaluate,
        ),
    )


def _without_model(benchmark: BenchmarkTask, source: BenchmarkSource, seed: int) -> dict[str, dict[str, float]]:
    """What each rule that needs no model gets, by metric."""
    found = {}
    for name, rule in rules_for(benchmark.task, benchmark.docs, seed).items():
        results: Results = run_task(benchmark, RuleModel(rule), chat=False)
        metrics = benchmark_metrics(benchmark.task, results, source.scoring)
        found[name] = {metric.name: value_of(metric.statistic(results), len(results)) for metric in metrics}
    return found
