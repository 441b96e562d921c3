"""Items of SNS-Bench as the harness takes them, and the scores of an answer to one.

The published files hold no prompts: those here are ours, one a subset, without examples. A JSON file of other templates
by subset takes their place (`prompts`): the names in braces are keys of a record.
"""

import json
from pathlib import Path
from typing import Any

from megatron_redone.errors import UserError
from megatron_redone.evaluation.benchmarks.datasets import as_dataset
from megatron_redone.evaluation.benchmarks.local_files import find_file, find_folder, read_json_records
from megatron_redone.evaluation.sns_bench.corrected import CORRECTED
from megatron_redone.evaluation.sns_bench.official import OFFICIAL, both_halves
from megatron_redone.evaluation.sns_bench.prompts import PROMPTS
from megatron_redone.evaluation.sns_bench.rules import rules_of
from megatron_redone.evaluation.sns_bench.scores import Scorer, sums_of

_SCORERS = {"official": OFFICIAL, "corrected": CORRECTED}


def load(
    *,
    subset: str,
    data: str | None = None,
    prompts: str | None = None,
    embedding: str | None = None,
    stand_in_embedding: str | None = None,
    **_: Any,
) -> dict[str, Any]:
    """A subset's records with their prompts.

    Args:
        subset: As in the file's name, `Note-SUBSET.json`.
        data: The folder.
        prompts: A JSON file of templates by subset.
        embedding: The folder of QueryGen's embedding model; None leaves its half out.
        stand_in_embedding: That of another one, whose scores stand apart.

    Raises:
        UserError: no data, a record without its keys, or a template that asks for others.
    """
    folder = find_folder("sns_bench", data)
    template = _templates(prompts)[subset]
    file = find_file("sns_bench", folder, f"Note-{subset}.json")
    records = read_json_records("sns_bench", file, ("answer",))
    try:
        asked = [template.format_map({name: str(value) for name, value in record.items()}) for record in records]
    except KeyError as error:
        raise UserError(f"sns_bench: the prompt of {subset} asks for {error}, which a record of {file} lacks") from None
    return as_dataset(
        [
            {
                "subset": subset,
                "prompt": prompt,
                "gold": str(record["answer"]),
                "gold_json": json.dumps(record["answer"], ensure_ascii=False),
                "embedding": embedding or "",
                "stand_in": stand_in_embedding or "",
                "rules": json.dumps(rules_of(subset, record), ensure_ascii=False),
            }
            for prompt, record in zip(asked, records, strict=True)
        ]
    )


def _templates(file: str | None) -> dict[str, str]:
    if file is None:
        return PROMPTS
    try:
        own = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"prompts: {file} cannot be read ({error})") from None
    if not isinstance(own, dict) or not all(isinstance(text, str) for text in own.values()):
        raise UserError(f"prompts: {file} is no JSON object of templates by subset")
    return PROMPTS | own


def score(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """What an answer adds to each score, and what is read of it."""
    subset, answer, gold = doc["subset"], results[0], json.loads(doc["gold_json"])
    found: dict[str, Any] = {}
    for name, scorers in _SCORERS.items():
        scorer = scorers[subset]
        reading = scorer.reading(answer)
        found[name] = {"subset": subset, "reading": reading, **scorer.count(answer, gold)}
        if doc["embedding"] and subset == "QueryGen":
            found[name]["cosine"] = _cosine(doc["embedding"], reading or "", gold)
    if doc["stand_in"] and subset == "QueryGen":
        cosine = _cosine(doc["stand_in"], found["corrected"]["reading"] or "", gold)
        found["with_stand_in"] = found["corrected"] | {"cosine": cosine, "stand_in": Path(doc["stand_in"]).name}
    return found


def _cosine(folder: str, one: str, other: str) -> float:
    from megatron_redone.evaluation.sns_bench.embeddings import cosine

    return cosine(folder, one, other)


def scorer_of(name: str, counts: dict[str, Any]) -> Scorer:
    """That of an item's counts: with both halves of QueryGen where both were taken."""
    scorer = _SCORERS.get(name, CORRECTED)[counts["subset"]]
    if "cosine" not in counts:
        return scorer
    return Scorer(names=(*scorer.names, "cosine"), count=scorer.count, combine=both_halves, reading=scorer.reading)


def official(items: list[dict[str, Any]]) -> float:
    """The official score of all items, between 0 and 1: the harness calls it."""
    return float(scorer_of("official", items[0]).combine(sums_of(items)))


def corrected(items: list[dict[str, Any]]) -> float:
    """The corrected one."""
    return float(scorer_of("corrected", items[0]).combine(sums_of(items)))


def with_stand_in(items: list[dict[str, Any]]) -> float:
    """QueryGen's corrected score with another embedding model than the benchmark's."""
    return float(scorer_of("with_stand_in", items[0]).combine(sums_of(items)))
