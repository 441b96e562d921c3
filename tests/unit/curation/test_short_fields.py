"""A short option is found beside more of its item, and alone it is a phrase like any other."""

import pytest

pytest.importorskip("datatrove")

from megatron_redone.curation.contamination import ItemIndex
from megatron_redone.curation.evaluation_items import Field
from megatron_redone.curation.short_fields import is_option

OPTIONS = {
    "A": "亚里士多德的地心说",
    "B": "牛顿的万有引力定律",
    "C": "伽利略的自由落体",
    "D": "哥白尼的日心说理论",
}
SHORT = {"": "3", "Question": "下列学说正确的是", **OPTIONS, "Answer": "D", "subject": "physics"}
LONG = {"question": "Which of these was the first to be made by hand in a small workshop near the old harbour?"}
ENGLISH = {**LONG, "choice0": "a pair of leather boots with laces", "choice1": "a glass bottle", "answer": "0"}


def index() -> ItemIndex:
    items = {"short": SHORT, "english": ENGLISH}
    return ItemIndex([(Field("quiz", i, n), t) for i, item in items.items() for n, t in item.items()], 13, 24, 3)


@pytest.mark.parametrize(
    "text",
    [
        "老师讲了牛顿的万有引力定律，我都听睡着了",
        "牛顿的万有引力定律和亚里士多德的地心说哪个难？",
        "physics：牛顿的万有引力定律",
        "I bought a pair of leather boots with laces, and then a glass vase",
    ],
)
def test_an_option_alone_is_a_phrase(text: str) -> None:
    assert index().search([text]) == [[]]


@pytest.mark.parametrize(
    "text",
    [
        "下列学说正确的是：哥白尼的日心说理论",
        "求助！" + "；".join(OPTIONS.values()),
        "\n".join([*OPTIONS.values(), SHORT["Question"]]),
        LONG["question"],
    ],
)
def test_beside_its_question_or_all_options_it_is_the_item(text: str) -> None:
    [runs] = index().search([text])
    assert runs


def test_a_short_question_says_so_alone() -> None:
    question = "Why do parvoviruses have a high impact on dogs?"
    found = ItemIndex([(Field("quiz", "1", "question"), question), (Field("quiz", "1", "A"), "They do not")], 13, 24, 3)
    assert found.search([f"Tell me: {question}"])[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("A", True),
        ("choice0", True),
        ("options.3", True),
        ("q.options.0", True),
        ("mc1_targets.choices.1", True),
        ("incorrect_answers.0", True),
        ("Answer", True),
        ("opd", True),
        ("question", False),
        ("Question", False),
        ("en", False),
        ("content", False),
        ("messages.0.content", False),
        ("", False),
    ],
)
def test_options_are_known_by_their_names(name: str, expected: bool) -> None:
    assert is_option(name) is expected
