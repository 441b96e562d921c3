"""How each subset is asked: what a note is, what is wanted, and in which form."""

_NOTE = "You are given a note from a social network.\n{content}\n\n"

PROMPTS = {
    "Taxonomy-single": _NOTE
    + "Which one of these categories suits it best?\nCategories: {candidates}\n\n"
    + "Answer with the name of the category alone.",
    "Taxonomy-multiple": _NOTE
    + "Choose one category of each level.\nFirst level: {candidates_primary}\nSecond level: {candidates_secondary}\n"
    + "Third level: {candidates_tertiary}\n\nAnswer in the form: first | second | third, and nothing else.",
    "Hashtag-single": _NOTE
    + "Which one of these hashtags suits it best?\nHashtags: {candidates}\n\nAnswer with the hashtag alone.",
    "Hashtag-multiple": _NOTE
    + "Which of these hashtags suit it?\nHashtags: {candidates}\n\n"
    + "Answer with all hashtags that suit it on one line, separated by commas, and nothing else.",
    "QueryCorr-topic": "How relevant is the note to the query? Levels: -1 (not at all), 0, 1, 2, 3 (fully).\n"
    + "{content}\n\nAnswer with the number of the level alone.",
    "QueryCorr-explain": "Query: {sentence1}\nNote: {sentence2}\n\nDoes the note answer the query? Answer Yes or No.",
    "MRC-simple": "Query: {query}\nNote:\n{content}\n\n"
    + "Copy the passages of the note that answer the query, word for word, as a list of strings, for example "
    + '["first passage", "second passage"]. If none does, answer []. Answer with the list alone.',
    "MRC-complex": "{content}\n\nWhich options in the Doc answer the Query at the given Level? Give for each the "
    + "sentence that is the reason. Answer in this form, with an empty list where there is none:\n"
    + '<Result>[{{"Option": "...", "Reason": "..."}}]</Result>',
    "NER": "{question} in this text.\nText: {content}\n\n"
    + "Answer with the entities alone, on one line, separated by commas.",
    "Gender": "{content}\n\nIs this note of interest to men rather than to women? Answer Yes or No.",
    "CHLW": "{content}",
    "QueryGen": "{content}\n\nWhat would a reader of this note search for next? Answer with one query alone.",
}
