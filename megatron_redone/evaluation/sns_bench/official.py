"""SNS-Bench's scores as its code takes them, defects included: what published figures can be compared with.

A prediction that does not parse is left out of the sums, and the score is multiplied by the share that parses.
`tests/helpers/sns_bench_reference.py` is a second reading of the same code.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from megatron_redone.evaluation.sns_bench.overlap import (
    ROUGE,
    edit_likeness,
    rouge,
    sentence_bleu,
    substring_f1,
    words,
)
from megatron_redone.evaluation.sns_bench.readings import (
    PUBLISHED_YES_CUT,
    published_label,
    published_level,
    published_list,
    published_options,
    published_path,
    published_set,
)
from megatron_redone.evaluation.sns_bench.scores import (
    LEVELS,
    Counts,
    Scorer,
    Sums,
    accuracy,
    binary_f1,
    divided,
    level_counts,
    parsed_share,
    set_counts,
)

_ADDED_TO_SETS, _ADDED_TO_LEVELS = 1e-4, 1e-5
_ANSWERED = ("both", "answered", "answerable")
_ITEM: Counts = {"items": 1.0}


def _of_label(read: Callable[[str], str], is_right: Callable[[str, str], bool]) -> Scorer:
    def count(prediction: str, gold: str) -> Counts:
        found = read(prediction)
        return _ITEM | {"parsed": float(bool(found)), "right": float(is_right(found, gold))}

    return Scorer(
        names=("items", "parsed", "right"), count=count, combine=accuracy, reading=lambda text: read(text) or None
    )


def _same_path(found: str, gold: str) -> bool:
    return published_path(found) in (published_path(gold), gold)


def _yes_or_no(text: str) -> str:
    found = published_label(text, PUBLISHED_YES_CUT)
    return found if found in ("Yes", "No") else ""


def _micro_f1(sums: Sums) -> np.ndarray:
    return 2 * sums["hits"] / (sums["found"] + sums["gold"] + _ADDED_TO_SETS)


def _items(prediction: str, gold: str) -> Counts:
    found = published_set(prediction)
    return _ITEM | {"parsed": float(found != {""})} | set_counts(found, published_set(gold))


def _level(prediction: str, gold: str) -> Counts:
    found = published_level(prediction)
    return _of_parsed(found, lambda found: level_counts(found, gold), [*level_counts(None, "")])


def _level_f1(sums: Sums) -> np.ndarray:
    total = np.zeros(np.shape(sums["items"]))
    for level in LEVELS:
        precision = divided(sums[f"hits{level}"], sums[f"found{level}"])
        recall = divided(sums[f"hits{level}"], sums[f"gold{level}"])
        total = total + 2 * precision * recall / (precision + recall + _ADDED_TO_LEVELS)
    return total / len(LEVELS) * parsed_share(sums)


def _highlights(prediction: str, gold: str) -> Counts:
    right = _words(published_list(gold) or [])
    return _of_parsed(
        published_list(prediction), lambda found: set_counts(_words(found), right), ["hits", "found", "gold"]
    )


def _words(found: list[Any]) -> frozenset[str]:
    """An empty list is a list of one empty word: nothing and nothing agree, which is why "[]" scores so high."""
    return frozenset(map(str, found or [""]))


def _passages(prediction: str, gold: list[str]) -> Counts:
    return _of_parsed(
        _joined(prediction), lambda found: _passage_counts(found, "\n".join(gold)), [*_ANSWERED, *_LIKENESSES]
    )


_LIKENESSES = ("pairs", "bleu", *ROUGE)


def _joined(prediction: str) -> str | None:
    found = published_list(prediction)
    if found is None or not all(isinstance(item, str) for item in found):
        return None
    return "\n".join(found)


def _passage_counts(found: str, gold: str) -> Counts:
    counts = answered_counts(bool(found), bool(gold)) | dict.fromkeys(_LIKENESSES, 0.0)
    if found and gold:
        reference, hypothesis = words(gold), words(found)
        bleu = sentence_bleu(reference, hypothesis)
        counts |= {"pairs": 1.0, "bleu": bleu, **rouge(reference, hypothesis)}
    return counts


def _passage_score(sums: Sums) -> np.ndarray:
    parts = [binary_f1(sums), *(divided(sums[name], sums["pairs"]) for name in ("bleu", *ROUGE))]
    return np.mean(parts, axis=0) * parsed_share(sums)


def _options(prediction: str, gold: str) -> Counts:
    right = published_options(gold) or []
    return _of_parsed(
        published_options(prediction), lambda found: _option_counts(found, right), [*_ANSWERED, "likeness", "exact"]
    )


def _option_counts(found: list[str], right: list[str]) -> Counts:
    counts = answered_counts(bool(found), bool(right))
    if not found or not right:
        same = float(not found and not right)
        return counts | {"likeness": same, "exact": same}
    likeness = np.mean([max(substring_f1(option, other) for other in right) for option in found])
    exact = np.mean([option in right for option in found])
    return counts | {"likeness": float(likeness), "exact": float(exact)}


def _option_score(sums: Sums) -> np.ndarray:
    parts = [binary_f1(sums), *(divided(sums[name], sums["parsed"]) for name in ("likeness", "exact"))]
    return np.mean(parts, axis=0) * parsed_share(sums)


def _query(prediction: str, gold: str) -> Counts:
    """The half that needs no model; the cosine of `embeddings.py` is the other."""
    return _ITEM | {"parsed": float(bool(prediction.strip())), "likeness": edit_likeness(prediction, gold)}


def edit_half(sums: Sums) -> np.ndarray:
    """QueryGen without its embedding model."""
    return divided(sums["likeness"], sums["items"])


def both_halves(sums: Sums) -> np.ndarray:
    """QueryGen with it; counts `cosine` too."""
    return (divided(sums["likeness"], sums["items"]) + divided(sums["cosine"], sums["items"])) / 2


def answered_counts(found: bool, right: bool) -> Counts:
    """What an item adds to the F1 of saying that there is an answer."""
    return {"both": float(found and right), "answered": float(found), "answerable": float(right)}


def _of_parsed(found: Any, count: Callable[[Any], Counts], names: list[str]) -> Counts:
    """Counts of what parses, and nothing of what does not."""
    if found is None:
        return {**_ITEM, "parsed": 0.0, **dict.fromkeys(names, 0.0)}
    return {**_ITEM, "parsed": 1.0, **count(found)}


def _as_text(read: Callable[[str], Any]) -> Callable[[str], str | None]:
    def reading(text: str) -> str | None:
        found = read(text)
        return None if found is None else str(sorted(found) if isinstance(found, frozenset) else found)

    return reading


_SETS = Scorer(
    names=("items", "parsed", "hits", "found", "gold"),
    count=_items,
    combine=_micro_f1,
    reading=_as_text(published_set),
)
_LABEL = _of_label(published_label, str.__eq__)
_YES_OR_NO = _of_label(_yes_or_no, str.__eq__)

OFFICIAL: dict[str, Scorer] = {
    "Taxonomy-single": _LABEL,
    "Taxonomy-multiple": _of_label(published_label, _same_path),
    "Hashtag-single": _LABEL,
    "Hashtag-multiple": _SETS,
    "QueryCorr-topic": Scorer(
        names=("items", "parsed", *level_counts(None, "")),
        count=_level,
        combine=_level_f1,
        reading=published_level,
    ),
    "QueryCorr-explain": _YES_OR_NO,
    "MRC-simple": Scorer(
        names=("items", "parsed", *_ANSWERED, *_LIKENESSES),
        count=_passages,
        combine=_passage_score,
        reading=_joined,
    ),
    "MRC-complex": Scorer(
        names=("items", "parsed", *_ANSWERED, "likeness", "exact"),
        count=_options,
        combine=_option_score,
        reading=_as_text(published_options),
    ),
    "NER": _SETS,
    "Gender": _YES_OR_NO,
    "CHLW": Scorer(
        names=("items", "parsed", "hits", "found", "gold"),
        count=_highlights,
        combine=lambda sums: _micro_f1(sums) * parsed_share(sums),
        reading=_as_text(published_list),
    ),
    "QueryGen": Scorer(
        names=("items", "parsed", "likeness"),
        count=_query,
        combine=edit_half,
        reading=lambda text: published_label(text) or None,
    ),
}
