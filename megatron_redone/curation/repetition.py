"""Text that says the same over and over."""

from collections import Counter
from dataclasses import dataclass

from megatron_redone.curation.scripts import EMOJI, may_have_emoji, units

# Below so many units a repeated phrase is a habit of speech, and shares jump with every word.
_FEWEST_UNITS = 12
_FEWEST_LINES = 4

# Repeated units that cost nothing: a chant of three ("北京人偷井盖了" thrice, "and you get a gold") is emphasis.
_FREE_UNITS = 12

# Laughter in Chinese, English, Korean and Japanese: long and repetitive by nature.
_LAUGHTER = frozenset(
    ["哈", "呵", "嘿", "嘻", "啊", "呜", "笑", "草", "h", "w", "ha", "haha", "hah", "lol", "ㅋ", "ㅎ"]
)


@dataclass(frozen=True)
class RepetitionLimits:
    """Shares from 0 to 1 and the n-gram's size; see `find_repetition`."""

    top_unit: float
    repeated_ngrams: float
    repeated_lines: float
    emoji: float
    ngram: int


def find_repetition(text: str, limits: RepetitionLimits) -> str | None:
    """Which kind of repetition is over its limit, or None.

    The shares, in the manner of Gopher (arXiv 2112.11446, table A1) but over units that exist in Chinese
    too, are those of
        emoji among units and emoji;
        the most frequent unit, laughter apart, where there are at least twelve;
        units inside n-grams that stood before, beyond the first twelve such units;
        characters in lines that stood before, where there are at least four lines.
    """
    bare, pictures = EMOJI.subn(" ", text) if may_have_emoji(text) else (text, 0)
    words = units(bare.lower())
    if pictures > limits.emoji * (pictures + len(words)):
        return "emoji"
    if len(words) >= _FEWEST_UNITS:
        again = len(words) - len(set(words))
        # The commonest unit stands no more than once more often than units repeat.
        if (again + 1) / len(words) > limits.top_unit and _top_share(words) > limits.top_unit:
            return "one word or character"
        most = limits.repeated_ngrams
        if again > _FREE_UNITS and _repeated_share(words, limits.ngram, of_interest=most) > most:
            return "phrases"
    if "\n" in text and _repeated_lines(text) > limits.repeated_lines:
        return "lines"
    return None


def measure_repetition(text: str, ngram: int) -> dict[str, float]:
    """All four shares that `find_repetition` compares with its limits, by their names there."""
    bare, pictures = EMOJI.subn(" ", text) if may_have_emoji(text) else (text, 0)
    words = units(bare.lower())
    is_long = len(words) >= _FEWEST_UNITS
    return {
        "emoji": pictures / (pictures + len(words)) if pictures else 0.0,
        "top_unit": _top_share(words) if is_long else 0.0,
        "repeated_ngrams": _repeated_share(words, ngram) if is_long else 0.0,
        "repeated_lines": _repeated_lines(text) if "\n" in text else 0.0,
    }


def _top_share(words: list[str]) -> float:
    return max((count for word, count in Counter(words).items() if word not in _LAUGHTER), default=0) / len(words)


def _repeated_share(words: list[str], size: int, of_interest: float = 0.0) -> float:
    """Share of the units that repeat an earlier n-gram, laughter in a row taken as one unit.

    It may be given as 0 where it is no more than `of_interest`, which is told faster.
    """
    if _most_repeated(words) <= of_interest:
        return 0.0
    if not _LAUGHTER.isdisjoint(words):
        pairs = zip(words, ["", *words], strict=False)
        words = [word for word, before in pairs if word != before or word not in _LAUGHTER]
        if _most_repeated(words) <= of_interest:
            return 0.0
    ngrams = list(zip(*(words[i:] for i in range(size)), strict=False))
    again = len(ngrams) - len(set(ngrams))
    if max(0, again * size - _FREE_UNITS) / len(words) <= of_interest:
        return 0.0
    seen: set[tuple[str, ...]] = set()
    covered = position = 0
    while position + size <= len(words):
        ngram = ngrams[position]
        if ngram in seen:
            covered += size
            position += size
        else:
            seen.add(ngram)
            position += 1
    return max(0, covered - _FREE_UNITS) / len(words)


def _most_repeated(words: list[str]) -> float:
    """What `_repeated_share` is at most: every unit of an n-gram that stood before stood before itself."""
    return max(0, len(words) - len(set(words)) - _FREE_UNITS) / len(words)


def _repeated_lines(text: str) -> float:
    """By characters, so that the names of speakers in a play weigh little."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if len(lines) < _FEWEST_LINES:
        return 0.0
    return 1 - sum(map(len, set(lines))) / sum(map(len, lines))
