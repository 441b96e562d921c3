"""Corrected scores: gold answers get 100, and what the published code rewards by mistake gets nothing."""

import pytest

from megatron_redone.evaluation.sns_bench.corrected import CORRECTED
from megatron_redone.evaluation.sns_bench.official import OFFICIAL
from tests.helpers.shared_data import needs_shared_data
from tests.helpers.sns_bench_predictions import SUBSETS, VARIANTS, gold, records


def corrected(subset: str, predictions: list[str], golds: list[object]) -> float:
    scorer = CORRECTED[subset]
    return 100 * scorer.score([scorer.count(p, g) for p, g in zip(predictions, golds, strict=True)])


@pytest.mark.slow
@needs_shared_data
@pytest.mark.parametrize("subset", SUBSETS)
def test_gold_answers_score_100(subset: str) -> None:
    found = records(subset)
    golds = [record["answer"] for record in found]
    assert corrected(subset, [gold(record) for record in found], golds) == pytest.approx(100, abs=1e-9)
    for name in ("empty", "shuffled"):
        assert corrected(subset, VARIANTS[name](found), golds) < 75, name


@needs_shared_data
@pytest.mark.parametrize("subset", SUBSETS)
def test_each_gold_answer_alone_scores_100(subset: str) -> None:
    """However small a sample is, and whatever is missing in it."""
    for record in records(subset)[:40]:
        assert corrected(subset, [gold(record)], [record["answer"]]) == pytest.approx(100, abs=1e-9), record["answer"]


@pytest.mark.slow
@needs_shared_data
@pytest.mark.parametrize(
    ("subset", "variants"),
    [
        ("Taxonomy-single", ("before", "mark behind", "Markdown", "quotes", "line behind", "sentence behind")),
        ("Taxonomy-multiple", ("before", "mark behind", "Markdown", "Chinese punctuation", "line behind", "spaces")),
        ("Hashtag-single", ("before", "mark behind", "Markdown", "quotes", "Chinese punctuation")),
        ("Hashtag-multiple", ("before", "mark behind", "doubled", "line behind", "Markdown", "brackets", "quotes")),
        ("NER", ("before", "mark behind", "doubled", "line behind", "Markdown", "brackets", "quotes")),
        ("QueryCorr-explain", ("lower case", "upper case", "Markdown", "quotes", "brackets", "sentence behind")),
        ("Gender", ("lower case", "upper case", "Markdown", "quotes", "brackets", "sentence behind")),
        ("MRC-simple", ("before", "code", "line behind", "sentence before")),
        ("CHLW", ("before", "code", "line behind", "sentence before")),
        ("MRC-complex", ("before", "code", "two results", "line behind")),
        ("QueryCorr-topic", ("sentence before", "Markdown", "Chinese punctuation")),
    ],
)
def test_what_stands_around_a_right_answer_says_nothing(subset: str, variants: tuple[str, ...]) -> None:
    found = records(subset)[:30]
    golds = [record["answer"] for record in found]
    for name in variants:
        assert corrected(subset, VARIANTS[name](found), golds) == pytest.approx(100), name


@pytest.mark.parametrize("subset", ["Hashtag-multiple", "NER"])
@pytest.mark.parametrize(
    "prediction",
    [
        "[#a, #b]",
        "['#a', '#b']",
        '["#b", "#a"]',
        "'#a', '#b'",
        '"#a", "#b"',
        "**#a, #b**",
        "**#a**, **#b**",
        "- **[#a、#b]**",
        "* #a, #b",
        "`['#a', '#b']`",
        "[#a], [#b]",
        "(#a), (#b)",
        "【#a】、【#b】",
        "[[#a], [#b]]",
        "“#a”，“#b”",
    ],
)
def test_a_list_is_its_items_however_they_are_marked(subset: str, prediction: str) -> None:
    assert corrected(subset, [prediction], ["#a, #b"]) == 100


def test_brackets_and_quotes_of_single_items_stay() -> None:
    for answer in ("(Official) Trailer, Movie (Text)", "'Round Midnight, Rock 'n'", '"A" Film, The "B"'):
        found = CORRECTED["NER"].count(answer, answer)
        assert found["found"] == found["hits"] == 2
        assert CORRECTED["NER"].reading(answer) == answer


@pytest.mark.parametrize("subset", ["Taxonomy-single", "Taxonomy-multiple", "Hashtag-multiple", "Gender", "QueryGen"])
@pytest.mark.parametrize(
    "before", ["Answer: {}", "Answer：{}", "**Answer:** {}", "**Answer**: {}", "**Answer：**\n**{}**", "**Answer: {}**",
               "_Answer:_ {}<|im_end|>", "`Answer: {}`"],
)  # fmt: skip
def test_a_word_before_an_answer_is_not_the_answer(subset: str, before: str) -> None:
    gold = "Yes" if subset == "Gender" else "Food"
    assert corrected(subset, [before.format(gold)], [gold]) == 100


@pytest.mark.parametrize("subset", ["Taxonomy-single", "Taxonomy-multiple", "Hashtag-single", "NER", "QueryGen"])
def test_composed_letters_are_those_of_their_parts(subset: str) -> None:
    composed, parts = "Caf\u00e9", "Cafe\u0301"
    for prediction, answer in ((parts, composed), (composed, parts), (parts, parts)):
        assert corrected(subset, [prediction], [answer]) == 100


def test_an_answer_that_begins_with_the_word_answer_stays() -> None:
    for answer in ("Answers", "Answer me: now", "The Answer: x"):
        assert corrected("Hashtag-single", [answer], [answer]) == 100
        assert CORRECTED["Hashtag-single"].reading(answer) == answer


def test_an_empty_list_everywhere_is_nothing() -> None:
    golds = ["[]", "['x']", "[]"]
    assert corrected("CHLW", ["[]"] * 3, golds) == 0
    assert 100 * OFFICIAL["CHLW"].score([OFFICIAL["CHLW"].count("[]", g) for g in golds]) > 60


def test_one_sure_option_is_not_a_whole_answer() -> None:
    option = '<Result>[{{"Option": "{}"}}]</Result>'.format
    both = '<Result>[{"Option": "x"}, {"Option": "y"}]</Result>'
    assert corrected("MRC-complex", [option("x")], [both]) == pytest.approx(100 * (1 + 2 / 3 + 2 / 3) / 3)
    assert OFFICIAL["MRC-complex"].score([OFFICIAL["MRC-complex"].count(option("x"), both)]) == 1


def test_one_answer_among_many_that_were_asked_for() -> None:
    golds = [["one two three four five"], ["six seven eight nine ten"]]
    assert corrected("MRC-simple", [str(golds[0]), "[]"], golds) == pytest.approx(100 * (2 / 3 + 4 * 0.5) / 5)


@pytest.mark.parametrize(
    ("text", "level"), [("10", None), ("-1.", "-1"), ("Level: 2", "2"), ("1.5", None), ("２", "2"), ("2024", None)]
)
def test_levels_are_whole_numbers(text: str, level: str | None) -> None:
    assert CORRECTED["QueryCorr-topic"].reading(text) == level


def test_what_a_model_wrote_is_not_run(tmp_path: object) -> None:
    file = f"{tmp_path}/written"
    for prediction in (f"[open('{file}', 'w').write('x')]", f"[__import__('os').system('touch {file}')]"):
        assert CORRECTED["CHLW"].count(prediction, "[]")["parsed"] == 0
    with pytest.raises(FileNotFoundError):
        open(file)


def test_many_brackets_end_soon() -> None:
    assert CORRECTED["CHLW"].reading("[" * 5000 + "]" * 5000) is None


def test_nothing_that_can_be_read_is_no_silence() -> None:
    """A sample without an answerable item says of an answer that does not parse that it is wrong."""
    for subset, right, silence in (
        ("MRC-complex", "<Result>[]</Result>", "<Result>[]</Result>"),
        ("MRC-simple", [], "[]"),
    ):
        assert corrected(subset, ["no idea"], [right]) == 0
        assert corrected(subset, [silence, "no idea"], [right, right]) == pytest.approx(50)
