"""SNS-Bench's scores with the defects of its code mended, so that the gold answers score 100 on every subset.

What differs from `official.py`:

- The cut escapes its bars, so that "end" does not cut "Trends"; a label that holds a full stop or comma can be right;
  Markdown, quotes and brackets around an answer say nothing, nor does "Answer:" before it or how "é" is composed.
- A prediction that does not parse is a wrong one. It is not left out of the sums, and nothing is multiplied.
- Lists may hold brackets within their strings (46 of 800 gold answers of MRC-simple do).
- An empty list is no agreement: "[]" everywhere scores 0 on CHLW, not 68.
- Levels and answers that neither gold nor predictions have are not averaged as noughts; nothing is added to a sum.
- MRC-simple's BLEU goes to the order that the shorter text has, and BLEU and ROUGE are taken over all answerable
  items: to answer one of them well and none else is not a good score.
- MRC-complex asks both ways: a gold option that nobody gave costs as much as a given one that is not gold.
- QueryGen's two halves see the same text.
"""

import unicodedata
from collections.abc import Sequence

import numpy as np

from megatron_redone.evaluation.sns_bench.official import answered_counts, edit_half
from megatron_redone.evaluation.sns_bench.overlap import (
    ROUGE,
    edit_likeness,
    rouge,
    sentence_bleu,
    substring_f1,
    words,
)
from megatron_redone.evaluation.sns_bench.readings import (
    item_set,
    label_path,
    label_readings,
    published_options,
    whole_level,
    whole_list,
    yes_or_no,
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
    set_counts,
)

_ORDER = 4  # of BLEU


def _item(parsed: bool) -> Counts:
    return {"items": 1.0, "parsed": float(parsed)}


def _label(prediction: str, gold: str) -> Counts:
    line, cut = label_readings(prediction)
    right = unicodedata.normalize("NFC", gold.strip()) in (line, line.rstrip(".,。，"), cut)
    return _item(bool(cut)) | {"right": float(right)}


def _path(prediction: str, gold: str) -> Counts:
    found = label_path(prediction)
    return _item(bool(found)) | {"right": float(found == label_path(gold))}


def _yes_or_no(prediction: str, gold: str) -> Counts:
    found = yes_or_no(prediction)
    return _item(found is not None) | {"right": float(found == gold.strip())}


def _items(prediction: str, gold: str) -> Counts:
    found = item_set(prediction)
    return _item(bool(found)) | set_counts(found, item_set(gold))


def _micro_f1(sums: Sums) -> np.ndarray:
    """1 where nothing was to be found and nothing was given."""
    total = sums["found"] + sums["gold"]
    return np.where(total > 0, divided(2 * sums["hits"], total), 1.0)


def _level(prediction: str, gold: str) -> Counts:
    found = whole_level(prediction)
    return _item(found is not None) | level_counts(found, gold.strip())


def _level_f1(sums: Sums) -> np.ndarray:
    """The mean over the levels that occur."""
    both = [sums[f"found{level}"] + sums[f"gold{level}"] for level in LEVELS]
    parts = [divided(2 * sums[f"hits{level}"], total) for level, total in zip(LEVELS, both, strict=True)]
    return divided(np.sum(parts, axis=0), np.sum([total > 0 for total in both], axis=0).astype(float))


def _highlights(prediction: str, gold: str) -> Counts:
    found = whole_list(prediction)
    return _item(found is not None) | set_counts(frozenset(found or []), frozenset(whole_list(gold) or []))


_LIKENESSES = ("bleu", *ROUGE)


def _passages(prediction: str, gold: Sequence[str]) -> Counts:
    found = whole_list(prediction)
    text, right = "\n".join(found or []), "\n".join(gold)
    counts = _item(found is not None) | answered_counts(bool(text), bool(right)) | dict.fromkeys(_LIKENESSES, 0.0)
    if text and right:
        reference, hypothesis = words(right), words(text)
        order = max(1, min(_ORDER, len(reference), len(hypothesis)))
        counts |= {"bleu": sentence_bleu(reference, hypothesis, order), **rouge(reference, hypothesis)}
    return counts


def _passage_score(sums: Sums) -> np.ndarray:
    """Where no item of a sample has an answer, or all have none, what cannot be measured is left out."""
    parts = [binary_f1(sums), *(divided(sums[name], sums["answerable"]) for name in _LIKENESSES)]
    return np.where(sums["answerable"] > 0, np.mean(parts, axis=0), _is_silent(sums))


def _is_silent(sums: Sums) -> np.ndarray:
    """Where there was nothing to answer: the share that says so, if none answers all the same."""
    return np.where(sums["answered"] == 0, divided(sums["parsed"], sums["items"]), 0.0)


def _options(prediction: str, gold: str) -> Counts:
    found, right = published_options(prediction), published_options(gold) or []
    counts = _item(found is not None) | answered_counts(bool(found), bool(right))
    if not found or not right:
        same = float(found == right)
        return counts | {"likeness": same, "exact": same}
    table = np.array([[substring_f1(option, other) for other in right] for option in found])
    same_option = np.array([[float(option == other) for other in right] for option in found])
    return counts | {"likeness": _both_ways(table), "exact": _both_ways(same_option)}


def _both_ways(table: np.ndarray) -> float:
    """F1 of how well the given options are among the gold ones, and the gold ones among the given."""
    given, gold = table.max(1).mean(), table.max(0).mean()
    return float(2 * given * gold / (given + gold)) if given + gold else 0.0


def _option_score(sums: Sums) -> np.ndarray:
    answerable = np.where(sums["answerable"] > 0, binary_f1(sums), _is_silent(sums))
    return np.mean([answerable, *(divided(sums[name], sums["items"]) for name in ("likeness", "exact"))], axis=0)


def _query(prediction: str, gold: str) -> Counts:
    line = label_readings(prediction)[0]
    return _item(bool(line)) | {"likeness": edit_likeness(line, label_readings(gold)[0])}


def _first_reading(text: str) -> str | None:
    return label_readings(text)[0] or None


def _set_reading(text: str) -> str | None:
    found = item_set(text)
    return ", ".join(sorted(found)) or None


def _list_reading(text: str) -> str | None:
    found = whole_list(text)
    return None if found is None else str(found)


def _option_reading(text: str) -> str | None:
    found = published_options(text)
    return None if found is None else str(found)


_RIGHT = ("items", "parsed", "right")
_FOUND = ("items", "parsed", "hits", "found", "gold")
_ANSWERED = ("both", "answered", "answerable")
_LABEL = Scorer(names=_RIGHT, count=_label, combine=accuracy, reading=lambda text: label_readings(text)[1] or None)
_SETS = Scorer(names=_FOUND, count=_items, combine=_micro_f1, reading=_set_reading)
_YES_OR_NO = Scorer(names=_RIGHT, count=_yes_or_no, combine=accuracy, reading=yes_or_no)

CORRECTED: dict[str, Scorer] = {
    "Taxonomy-single": _LABEL,
    "Taxonomy-multiple": Scorer(
        names=_RIGHT, count=_path, combine=accuracy, reading=lambda text: label_path(text) or None
    ),
    "Hashtag-single": _LABEL,
    "Hashtag-multiple": _SETS,
    "QueryCorr-topic": Scorer(
        names=("items", "parsed", *level_counts(None, "")), count=_level, combine=_level_f1, reading=whole_level
    ),
    "QueryCorr-explain": _YES_OR_NO,
    "MRC-simple": Scorer(
        names=("items", "parsed", *_ANSWERED, *_LIKENESSES),
        count=_passages,
        combine=_passage_score,
        reading=_list_reading,
    ),
    "MRC-complex": Scorer(
        names=("items", "parsed", *_ANSWERED, "likeness", "exact"),
        count=_options,
        combine=_option_score,
        reading=_option_reading,
    ),
    "NER": _SETS,
    "Gender": _YES_OR_NO,
    "CHLW": Scorer(names=_FOUND, count=_highlights, combine=_micro_f1, reading=_list_reading),
    "QueryGen": Scorer(names=("items", "parsed", "likeness"), count=_query, combine=edit_half, reading=_first_reading),
}
