"""Tasks of lm-evaluation-harness: found by name, built on local files, and run on anything that the harness can ask."""

import inspect
import io
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from megatron_redone.config.evaluate import BenchmarkSource
from megatron_redone.config.schema import plain
from megatron_redone.errors import UserError
from megatron_redone.hashing import short_hash

TASKS = Path(__file__).parent / "tasks"

Results = list[dict[str, Any]]

_PATHS = ("data", "prompts", "embedding", "stand_in_embedding")


@dataclass(frozen=True, kw_only=True)
class BenchmarkTask:
    """One task of the harness.

    Attributes:
        name: The harness's.
        source: In tables; parts between slashes are folded.
        headlines: The metrics that means are taken of; none takes the first.
        chat: Whether the task says that prompts go through the chat template.
        variant_of: The source whose items these are, with other texts; that one's own name in itself; empty for others.
        task: The harness's own.
        chosen: The numbers of the items taken, ascending.
    """

    name: str
    source: str
    headlines: list[str]
    chat: bool
    task: Any
    chosen: list[int]
    variant_of: str = ""

    @property
    def docs(self) -> list[Any]:
        """The items taken."""
        everything = self.task.eval_docs
        return [everything[number] for number in self.chosen]

    @property
    def digest(self) -> str:
        """Sixteen digits that change when an item, a prompt, a worked example or the way of scoring does.

        All that the task's files say counts, and the source of the functions that they name; of the configuration's
        paths only what is read there.
        """
        config = self.task.config.to_dict(keep_callable=True)
        said = {name: value for name, value in (config.get("metadata") or {}).items() if name not in _PATHS}
        content = [config | {"metadata": said}, self.chosen, self.docs, self._worked_examples()]
        return short_hash([json.dumps(content, sort_keys=True, default=_told)])

    def _worked_examples(self) -> list[Any]:
        shown = self.task.config.num_fewshot or 0
        return list(self.task.fewshot_docs() or []) if shown > 0 else []


def _told(value: Any) -> Any:
    """What JSON does not hold, by what it does and not by where it lies in memory."""
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    if not callable(value):
        return str(value)
    try:
        return inspect.getsource(value)
    except (TypeError, OSError):  # an object that can be called, or a function that is not written in Python
        name = getattr(value, "__qualname__", None)
        return name or [type(value), vars(value)]


def find_tasks(source: BenchmarkSource, limit: int, seed: int) -> list[BenchmarkTask]:
    """The tasks behind a name, with their data.

    Args:
        source: Names the task or group, and its data.
        limit: Items of each, where there are more.
        seed: Of the draw.

    Raises:
        UserError: lm_eval is missing, there is no such task, or its data cannot be used.
    """
    manager = _manager(source)
    if source.task not in manager.all_tasks:
        raise UserError(f"benchmarks: there is no task '{source.task}'; there are {', '.join(_names(manager))}")
    try:
        loaded = manager.load([source.task])["tasks"]
    except UserError:
        raise
    except Exception as error:  # whatever a task of a user's own does
        raise UserError(f"benchmarks: {source.task} cannot be built ({_short(error)})") from error
    return [_benchmark_task(name, task, limit, seed) for name, task in loaded.items()]


def _manager(source: BenchmarkSource) -> Any:
    try:
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise UserError("lm_eval is not installed: `pip install 'megatron_redone[evaluation]'`") from None
    for name in ("lm_eval", "lm_eval.api.task", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)
    options = (*_PATHS, "num_fewshot")
    metadata = {name: getattr(source, name) for name in options if getattr(source, name) is not None}
    metadata["harm"] = plain(source.harm)
    folders: list[str | Path] = [TASKS]
    if source.include is not None:
        if not Path(source.include).is_dir():
            raise UserError(f"include: {source.include} is not a folder")
        folders.append(source.include)
    return TaskManager(include_path=folders, include_defaults=False, metadata=metadata)


def _names(manager: Any) -> Iterator[str]:
    parts = {child for name in manager.all_groups for child in manager.task_index[name].cfg["task"]}
    yield from (name for name in manager.all_tasks if name not in parts)


def _benchmark_task(name: str, task: Any, limit: int, seed: int) -> BenchmarkTask:
    about = task.config.metadata or {}
    count = len(task.eval_docs)
    if count == 0:
        raise UserError(f"benchmarks: {name} has no items")
    chosen = np.arange(count)
    if count > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))
    return BenchmarkTask(
        name=name,
        source=about.get("shown_as", name),
        headlines=about.get("headlines", []),
        chat=bool(about.get("chat", False)),
        task=task,
        chosen=chosen.tolist(),
        variant_of=about.get("variant_of", ""),
    )


def run_task(benchmark: BenchmarkTask, model: Any, chat: bool) -> Results:
    """What the harness makes of a model's answers.

    Args:
        benchmark: The task.
        model: A harness `LM`.
        chat: Whether prompts go through its chat template.

    Returns:
        For each item its `record`, `expected`, `answer` and `values` by metric, a filter's name behind a comma where
        there are several.
    """
    from lm_eval.evaluator import evaluate

    with redirect_stderr(io.StringIO()):  # the harness's bars, beside which ours would not be seen
        found: Any = evaluate(
            lm=model,
            task_dict={"tasks": {benchmark.name: benchmark.task}},
            samples={benchmark.name: benchmark.chosen},
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=chat,
        )
    samples = found["samples"][benchmark.name]
    filters = {sample["filter"] for sample in samples}
    results: dict[int, dict[str, Any]] = {}
    shortened = getattr(model, "shortened", frozenset())
    for sample in samples:
        result = results.setdefault(sample["doc_id"], _result(sample))
        result["shortened"] = any(arguments[0] in shortened for arguments in sample["arguments"])
        for metric in sample["metrics"]:
            name = f"{metric},{sample['filter']}" if len(filters) > 1 else metric
            result["values"][name] = _plain(sample[metric])
    return [results[number] for number in sorted(results)]


def _result(sample: dict[str, Any]) -> dict[str, Any]:
    target = sample["target"]
    return {
        "record": sample["doc_id"] + 1,
        "expected": target if isinstance(target, str | int) else str(target),
        "answer": _answer(sample),
        "values": {},
    }


def _answer(sample: dict[str, Any]) -> Any:
    """The text, or the number of the likeliest choice; None of a text's probability."""
    responses = [response[0] for response in sample["resps"]]
    if isinstance(responses[0], str):
        return responses[0]
    if len(responses) > 1 and isinstance(responses[0], Sequence):
        return int(np.argmax([response[0] for response in responses]))
    return None


def _plain(value: Any) -> Any:
    """As JSON holds it."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, bool | np.bool_):
        return float(value)
    return float(value) if isinstance(value, int | float | np.number) else value


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
