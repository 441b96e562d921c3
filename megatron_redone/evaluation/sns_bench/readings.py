"""What SNS-Bench's code reads of a prediction, and what is read of it once the defects are mended.

The published code hands what a model wrote to `eval`. Nothing here runs anything: a list is parsed, and a name that
Python itself knows (`eval("[list]")` gives a list of one class) stands for an item that equals no gold answer.
"""

import ast
import builtins
import json
import re
import string
import unicodedata
from itertools import accumulate, islice
from typing import Any

from megatron_redone.curation.benchmark_scorers import PUBLISHED_CUT

PUBLISHED_YES_CUT = re.compile(r"[\n.,]|<|endofresponse|>")
_MARK = re.compile(r"<\|(?:endofresponse|end|im_end|endoftext)\|>")
_ANSWER = re.compile(r"\A(?P<marks>[*_]*)Answer(?:[:：](?P=marks)|(?P=marks)[:：])\s*")
_STOP = re.compile(r"[.,。，]")
_PUBLISHED_LIST = re.compile(r"\[[^\[\]]*\]")
_PUBLISHED_LEVEL = re.compile(r"(-1|0|1|2|3)")
_LEVEL = re.compile(r"(?<![\d.\-−])(?:[-−]1|[0-3])(?![\d.]*\d)")
_RESULT = re.compile(r"<Result>(.*?)</Result>", re.DOTALL)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_SEPARATORS = re.compile(r"[,，、;；]")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# A list longer than this is no answer, and parsing takes memory.
_LONGEST = 20_000
_TRIED = 300  # pairs of brackets


def published_label(text: str, cut: re.Pattern[str] = PUBLISHED_CUT) -> str:
    """An answer up to the published cut, whose bars are not escaped: "end" cuts "Trends"."""
    return cut.split(text.strip().removeprefix("Answer:").strip(), maxsplit=1)[0].strip()


def published_path(text: str) -> str:
    """A path of categories as it is compared: up to a line's end, full stop or comma; no punctuation, no articles."""
    first = re.split(r"[\n.,]", text, maxsplit=1)[0].translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", first).split())


def published_set(text: str) -> frozenset[str]:
    """What stands between the commas of the first line; an empty line is one empty item."""
    return frozenset(item.strip() for item in text.split("\n", 1)[0].split(","))


def published_level(text: str) -> str | None:
    """The first of the five levels, be it within another number."""
    found = _PUBLISHED_LEVEL.search(text)
    return found.group() if found else None


def published_list(text: str) -> list[Any] | None:
    """The first brackets without brackets inside, as a list; None where there are none or `eval` would fail."""
    found = _PUBLISHED_LIST.search(text)
    return _parse_list(found.group()) if found else None


def published_options(text: str) -> list[str] | None:
    """The options of the last `<Result>`; None where it is missing or no such JSON."""
    found = _RESULT.findall(text)
    try:
        return [str(entry["Option"]) for entry in json.loads(found[-1])] if found else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def label_readings(text: str) -> tuple[str, str]:
    """The first line of an answer, and its part before the first full stop or comma; marks of Markdown go."""
    line = _unwrap(_first_line(text))
    return line, _unwrap(_STOP.split(line, maxsplit=1)[0])


def label_path(text: str) -> str:
    """A path of categories, its levels single-spaced."""
    levels = re.split(r"[|｜>]", label_readings(text)[0].rstrip(".,。，"))
    return " | ".join(" ".join(_unwrap(level).split()) for level in levels)


def yes_or_no(text: str) -> str | None:
    """`Yes` or `No` where an answer begins with it, in whatever case or marks."""
    found = re.match(r"(yes|no)\b", _unwrap(_first_line(text)), re.IGNORECASE)
    return found.group().capitalize() if found else None


def whole_level(text: str) -> str | None:
    """The first level that is a number of its own: that of "10" is none."""
    found = _LEVEL.search(unicodedata.normalize("NFKC", text))
    return found.group().replace("−", "-") if found else None


def item_set(text: str) -> frozenset[str]:
    """The items of the first line, between commas of any script; marks around all of them go, and around each."""
    line = _first_line(text).strip()
    while (inner := _unwrapped_once(line)) != line and not _wraps_members(line):
        line = inner
    return frozenset(item for piece in _SEPARATORS.split(line) if (item := _unwrap(piece)))


def whole_list(text: str) -> list[str] | None:
    """The first list of strings, brackets within its strings allowed; None where there is none."""
    spans = (
        text[start.start() : end.end()]
        for start in re.finditer(r"\[", text)
        for end in re.finditer(r"\]", text)
        if end.start() > start.start()
    )
    lists = (found for span in islice(spans, _TRIED) if (found := _parse_list(span)) is not None)
    return next(([str(item) for item in found] for found in lists), None)


def _parse_list(text: str) -> list[Any] | None:
    try:
        tree = ast.parse(text.strip(), mode="eval") if len(text) <= _LONGEST else None
        found = ast.literal_eval(_Names().visit(tree)) if tree else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return found if isinstance(found, list) else None


class _Names(ast.NodeTransformer):
    """Names that Python knows become items that no gold answer equals; `literal_eval` refuses all others."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if not hasattr(builtins, node.id):
            return node
        return ast.copy_location(ast.Constant(f"\0{node.id}"), node)


def _first_line(text: str) -> str:
    """Of an answer in Unicode's NFC, without "Answer:" before it and a model's end marks behind it."""
    text = unicodedata.normalize("NFC", _MARK.split(text, maxsplit=1)[0]).strip()
    line = _ANSWER.sub("", text).split("\n", maxsplit=1)[0]
    inner = _unwrap(line)
    return _ANSWER.sub("", inner) if _ANSWER.match(inner) else line


def _unwrap(text: str) -> str:
    """Without Markdown, quotes and brackets around the whole; those of "Movie (Text)" stay."""
    inner = text.strip()
    while inner and (stripped := _unwrapped_once(inner)) != inner:
        inner = stripped
    return inner


_PAIRS = {"(": ")", "[": "]", "{": "}", "（": "）", "【": "】", "「": "」", "《": "》", "“": "”", "‘": "’", "<": ">"}
_SAME = "*_`'\""


def _unwrapped_once(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and (_PAIRS.get(text[0]) == text[-1] or (text[0] == text[-1] and text[0] in _SAME)):
        return text[1:-1].strip()
    return re.sub(r"^(?:[-*•]\s+|#+\s+)", "", text)


def _wraps_members(line: str) -> bool:
    """Whether the mark that begins a list ends before the list does, as in "(a), (b)"."""
    mark = line[0]
    if mark in _PAIRS:
        depths = accumulate((character == mark) - (character == _PAIRS[mark]) for character in line)
        return 0 in islice(depths, len(line) - 1)
    items = _SEPARATORS.split(line)
    return mark in _SAME and (mark in items[0].strip().lstrip(mark) or mark in items[-1].strip().rstrip(mark))
