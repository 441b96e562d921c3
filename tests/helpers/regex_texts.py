"""Random texts of the shape that a regular expression describes, thousands a second."""

import random
import re
import sys
from typing import Any

if sys.version_info >= (3, 11):
    from re import _constants as ops
    from re import _parser as parser  # type: ignore[attr-defined]
else:
    import sre_constants as ops
    import sre_parse as parser

_CATEGORIES = {
    ops.CATEGORY_SPACE: " \t\n\u00a0\u2003\u3000",
    ops.CATEGORY_WORD: "aZ_7好",
    ops.CATEGORY_NOT_WORD: " ,.-·❤\n",
    ops.CATEGORY_DIGIT: "0123456789",
}
_ANYTHING = "aZx7_ ,.:-·❤好信\n"
_MOST = 12


def text_of(pattern: re.Pattern[str], rng: random.Random) -> str:
    """A text; as conditions on what stands around are not heeded, the pattern need not find anything in it."""
    return _some(parser.parse(pattern.pattern, pattern.flags), rng, {})


def _some(parts: Any, rng: random.Random, groups: dict[int, str]) -> str:
    return "".join(_one(op, argument, rng, groups) for op, argument in parts)


def _one(op: Any, argument: Any, rng: random.Random, groups: dict[int, str]) -> str:
    if op is ops.LITERAL:
        return chr(argument)
    if op is ops.IN:
        return _member(argument, rng)
    if op in (ops.ANY, ops.NOT_LITERAL):
        return rng.choice(_ANYTHING)
    if op is ops.BRANCH:
        return _some(rng.choice(argument[1]), rng, groups)
    if op in (ops.MAX_REPEAT, ops.MIN_REPEAT):
        least, most, parts = argument
        return "".join(_some(parts, rng, groups) for _ in range(rng.randint(least, min(int(most), least + _MOST))))
    if op is ops.SUBPATTERN:
        text = _some(argument[3], rng, groups)
        if argument[0] is not None:
            groups[argument[0]] = text
        return text
    if op is ops.GROUPREF:
        return groups[argument]
    if op is ops.GROUPREF_EXISTS:
        group, then, otherwise = argument
        return _some(then if group in groups else otherwise or [], rng, groups)
    assert op in (ops.ASSERT, ops.ASSERT_NOT, ops.AT), f"{op} is not known here"
    return ""


def _member(members: list[tuple[Any, Any]], rng: random.Random) -> str:
    if members[0][0] is ops.NEGATE:
        refused = re.compile("[" + "".join(map(_written, members[1:])) + "]")
        return rng.choice([one for one in _ANYTHING if not refused.match(one)])
    op, argument = rng.choice(members)
    if op is ops.RANGE:
        return chr(rng.randint(*argument))
    return chr(argument) if op is ops.LITERAL else rng.choice(_CATEGORIES[argument])


def _written(member: tuple[Any, Any]) -> str:
    op, argument = member
    if op is ops.RANGE:
        return f"{re.escape(chr(argument[0]))}-{re.escape(chr(argument[1]))}"
    return re.escape(chr(argument)) if op is ops.LITERAL else {ops.CATEGORY_WORD: r"\w"}[argument]
