"""SNS-Bench's scores, 0 to 100, written a second time from the description of its code line by line.

It imports nothing of the package and shares no helper with it: plain loops, BLEU and ROUGE by hand, `eval` replaced by
`ast.literal_eval`. Tests compare the package's official scores with these.
"""

import ast
import json
import math
import re
import string
from collections import Counter
from typing import Any

import jieba

LABEL_CUT = r"[\n.,]|<|endofresponse|>|<|end|>|<|im_end|>"
YES_CUT = r"[\n.,]|<|endofresponse|>"


def reference_score(subset: str, predictions: list[str], golds: list[Any]) -> float:
    """The score of a subset; QueryGen without its embedding half."""
    return _SCORES[subset](predictions, golds)


def _cut(text: str, pattern: str) -> str:
    text = text.strip()
    if text.startswith("Answer:"):
        text = text[len("Answer:") :].strip()
    match = re.search(pattern, text)
    return (text[: match.start()] if match else text).strip()


def _single(predictions: list[str], golds: list[Any]) -> float:
    return 100 * sum(_cut(p, LABEL_CUT) == g for p, g in zip(predictions, golds, strict=True)) / len(golds)


def _yes(predictions: list[str], golds: list[Any]) -> float:
    hits = 0
    for prediction, gold in zip(predictions, golds, strict=True):
        found = _cut(prediction, YES_CUT)
        hits += found in ("Yes", "No") and found == gold
    return 100 * hits / len(golds)


def _plain(text: str) -> str:
    for mark in "\n.,":
        text = text.split(mark)[0]
    kept = "".join(c for c in text if c not in string.punctuation)
    return " ".join(word for word in kept.split() if word not in ("a", "an", "the"))


def _multiple(predictions: list[str], golds: list[Any]) -> float:
    hits = 0
    for prediction, gold in zip(predictions, golds, strict=True):
        found = _plain(_cut(prediction, LABEL_CUT))
        hits += found == _plain(gold) or found == gold
    return 100 * hits / len(golds)


def _items(text: str) -> set[str]:
    return {piece.strip() for piece in text.split("\n")[0].split(",")}


def _micro(pairs: list[tuple[set[Any], set[Any]]]) -> float:
    both = found = gold = 0
    for one, other in pairs:
        both += len(one & other)
        found += len(one)
        gold += len(other)
    return 2 * both / (found + gold + 1e-4)


def _sets(predictions: list[str], golds: list[Any]) -> float:
    return 100 * _micro([(_items(p), _items(g)) for p, g in zip(predictions, golds, strict=True)])


def _topic(predictions: list[str], golds: list[Any]) -> float:
    parsed = []
    for prediction, gold in zip(predictions, golds, strict=True):
        match = re.search("(-1|0|1|2|3)", prediction)
        if match:
            parsed.append((match.group(1), gold))
    scores = []
    for level in ["-1", "0", "1", "2", "3"]:
        right = sum(p == g == level for p, g in parsed)
        found = sum(p == level for p, _ in parsed)
        gold = sum(g == level for _, g in parsed)
        precision = right / found if found else 0
        recall = right / gold if gold else 0
        scores.append(2 * precision * recall / (precision + recall + 1e-5))
    return 100 * sum(scores) / 5 * len(parsed) / len(golds)


def _list(text: str) -> list[Any] | None:
    match = re.search(r"\[[^\[\]]*\]", text)
    try:
        found = ast.literal_eval(match.group(0)) if match else None
    except (ValueError, SyntaxError):
        return None
    return found if isinstance(found, list) else None


def _chlw(predictions: list[str], golds: list[Any]) -> float:
    pairs = []
    for prediction, gold in zip(predictions, golds, strict=True):
        found = _list(prediction)
        if found is not None:
            pairs.append(({str(x) for x in found or [""]}, set(ast.literal_eval(gold) or [""])))
    return 100 * _micro(pairs) * len(pairs) / len(golds) if pairs else 0.0


def _is_emoji(character: str) -> bool:
    point = ord(character)
    planes = [(0x1F1E6, 0x1F1FF), (0x1F300, 0x1FAFF), (0x2600, 0x27BF), (0x2B00, 0x2BFF), (0xE0020, 0xE007F)]
    return any(low <= point <= high for low, high in planes) or point in (0xFE0F, 0x200D, 0x20E3)


def _tokens(text: str) -> list[str]:
    return list(jieba.cut("".join(c for c in text if c != "\n" and not _is_emoji(c))))


def _grams(tokens: list[str], n: int) -> Counter[Any]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def _bleu(gold: list[str], found: list[str]) -> float:
    logs = []
    for n in (1, 2, 3, 4):
        ours, theirs = _grams(found, n), _grams(gold, n)
        matched = sum(min(count, theirs[gram]) for gram, count in ours.items())
        if not matched:
            return 0.0
        logs.append(math.log(matched / sum(ours.values())))
    brevity = 1.0 if len(found) > len(gold) else math.exp(1 - len(gold) / len(found))
    return brevity * math.exp(sum(logs) / 4)


def _f(matched: float, found: float, gold: float) -> float:
    return 2 * matched / (found + gold) if matched else 0.0


def _rouge_n(gold: list[str], found: list[str], n: int) -> float:
    ours, theirs = _grams(found, n), _grams(gold, n)
    return _f(sum((ours & theirs).values()), sum(ours.values()), sum(theirs.values()))


def _rouge_l(gold: list[str], found: list[str]) -> float:
    row = [0] * (len(found) + 1)
    for token in gold:
        before = 0
        for i, other in enumerate(found):
            kept = row[i + 1]
            row[i + 1] = before + 1 if token == other else max(row[i], row[i + 1])
            before = kept
    return _f(row[-1], len(found), len(gold))


def _simple(predictions: list[str], golds: list[Any]) -> float:
    parsed: list[tuple[str, str]] = []
    for prediction, gold in zip(predictions, golds, strict=True):
        found = _list(prediction)
        if found is not None and all(isinstance(x, str) for x in found):
            parsed.append(("\n".join(found), "\n".join(gold)))
    if not parsed:
        return 0.0
    pairs = [(_tokens(g), _tokens(p)) for p, g in parsed if p and g]
    parts = [_answerable([(bool(p), bool(g)) for p, g in parsed])]
    for measure in (
        _bleu,
        lambda g, p: _rouge_n(g, p, 1),
        lambda g, p: _rouge_n(g, p, 2),
        _rouge_l,
    ):
        parts.append(sum(measure(g, p) for g, p in pairs) / len(pairs) if pairs else 0.0)
    return 100 * sum(parts) / 5 * len(parsed) / len(golds)


def _answerable(flags: list[tuple[bool, bool]]) -> float:
    return _f(sum(p and g for p, g in flags), sum(p for p, _ in flags), sum(g for _, g in flags))


def _result(text: str) -> list[str] | None:
    found = re.findall(r"<Result>(.*?)</Result>", text, re.DOTALL)
    if not found:
        return None
    try:
        return [str(entry["Option"]) for entry in json.loads(found[-1])]
    except (ValueError, KeyError, TypeError):
        return None


def _longest_common(one: str, other: str) -> int:
    best, row = 0, [0] * (len(other) + 1)
    for a in one:
        new = [0] * (len(other) + 1)
        for i, b in enumerate(other):
            if a == b:
                new[i + 1] = row[i] + 1
                best = max(best, new[i + 1])
        row = new
    return best


def _complex(predictions: list[str], golds: list[Any]) -> float:
    likeness, exact, flags = [], [], []
    for prediction, text in zip(predictions, golds, strict=True):
        found, gold = _result(prediction), _result(text)
        if found is None:
            continue
        gold = gold or []
        flags.append((bool(found), bool(gold)))
        if found and gold:
            best = [max(2 * _longest_common(p, g) / (len(p) + len(g)) for g in gold) for p in found]
            likeness.append(sum(best) / len(found))
            exact.append(sum(any(p == g for g in gold) for p in found) / len(found))
        else:
            likeness.append(float(not found and not gold))
            exact.append(float(not found and not gold))
    if not flags:
        return 0.0
    parts = [_answerable(flags), sum(likeness) / len(flags), sum(exact) / len(flags)]
    return 100 * sum(parts) / 3 * len(flags) / len(golds)


def _distance(one: str, other: str) -> int:
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        new = [i]
        for j, b in enumerate(other, 1):
            new.append(min(row[j] + 1, new[j - 1] + 1, row[j - 1] + (a != b)))
        row = new
    return row[-1]


def _query(predictions: list[str], golds: list[Any]) -> float:
    shares = [1 - _distance(p, g) / max(len(p), len(g)) for p, g in zip(predictions, golds, strict=True)]
    return 100 * sum(shares) / len(shares)


_SCORES = {
    "Taxonomy-single": _single,
    "Taxonomy-multiple": _multiple,
    "Hashtag-single": _single,
    "Hashtag-multiple": _sets,
    "QueryCorr-topic": _topic,
    "QueryCorr-explain": _yes,
    "MRC-simple": _simple,
    "MRC-complex": _complex,
    "NER": _sets,
    "Gender": _yes,
    "CHLW": _chlw,
    "QueryGen": _query,
}
