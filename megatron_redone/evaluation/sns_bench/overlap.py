"""How alike two texts are: BLEU and ROUGE over jieba's words, the longest common substring, the edit distance."""

import difflib
import logging
import re
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

_EMOJI = re.compile(
    "[\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff\U00002600-\U000027bf\U00002b00-\U00002bff"
    "\U0000fe0f\U0000200d\U000020e3\U000e0020-\U000e007f]"
)
ROUGE = ("rouge1", "rouge2", "rougeL")


def words(text: str) -> list[str]:
    """jieba's words of a text without line ends and emoji."""
    return list(_jieba().cut(_EMOJI.sub("", text.replace("\n", ""))))


def sentence_bleu(reference: Sequence[str], found: Sequence[str], order: int = 4) -> float:
    """nltk's, without smoothing, all orders up to `order` weighted alike."""
    from nltk.translate.bleu_score import sentence_bleu as of_nltk

    if not found or not reference:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an order without a match makes it nothing, of each such pair
        return float(of_nltk([list(reference)], list(found), weights=(1 / order,) * order))  # type: ignore[arg-type]


def rouge(reference: Sequence[str], found: Sequence[str]) -> dict[str, float]:
    """F of ROUGE-1, -2 and -L (Lin, 2004), by Google's rouge_score."""
    scores = _rouge_scorer().score(reference, found)
    return {name: float(scores[name].fmeasure) for name in ROUGE}


def substring_f1(one: str, other: str) -> float:
    """Twice the longest common substring over both lengths; 1 of two empty texts."""
    if not one and not other:
        return 1.0
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    return 2 * matcher.find_longest_match(0, len(one), 0, len(other)).size / (len(one) + len(other))


def edit_likeness(one: str, other: str) -> float:
    """1 less the edit distance over the longer length; 1 of two empty texts."""
    from nltk.metrics.distance import edit_distance

    longer = max(len(one), len(other))
    return 1 - edit_distance(one, other) / longer if longer else 1.0


@cache
def _jieba() -> Any:
    import jieba

    jieba.setLogLevel(logging.WARNING)
    return jieba


class _AsTheyAre:
    """Hands words to rouge_score, which asks for a tokenizer."""

    def tokenize(self, text: Sequence[str]) -> list[str]:
        return list(text)


@cache
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(ROUGE), tokenizer=_AsTheyAre())
