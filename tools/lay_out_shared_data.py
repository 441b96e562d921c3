"""Lays out a folder of public data sets as the quickstart's `--data` folder.

    python tools/lay_out_shared_data.py --from ../shared/data --to laid_out [--max-per-file 2000]

Reads GoEmotions, WNUT 17, the Broad Twitter Corpus, VADER's tweets, COLD, Weibo hashtags and NER, KdConv,
CMRC 2018, WikiText-2, C4 and others as their authors publish them, and writes

    posts/social.jsonl            {"id", "text", "topic", "comments": [...]}
    posts/general.jsonl           {"id", "text"}
    conversations/<name>.jsonl    {"id", "messages": [...]}: the six capabilities and general
    preferences/pairs.jsonl       {"id", "prompt", "chosen", "rejected"}: messages, as TRL has them

A text stands in one place only: splits that became conversations are not among the posts. Dirt stays in
the posts; removing it is `redone curate`'s work. The same input gives the same bytes.
"""

import argparse
import csv
import itertools
import json
import random
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]
Part = Callable[[Path], Iterator[Record]]

MOST_PER_FILE = 200_000
_SHORTEST = 20


def main() -> None:
    """Reads the command line and writes every file; posts last, without texts that conversations ask about."""
    options = _options()
    asked: set[str] = set()
    for name, parts in sorted(LAYOUT.items(), key=lambda item: item[0].startswith("posts/")):
        records = [_numbered(part, options.source) for part in parts]
        if name.startswith("posts/"):
            records = [[record for record in found if _letters(record["text"]) not in asked] for found in records]
        chosen = _share_out(records, options.max_per_file, name)
        asked |= _asked_about(chosen)
        _write(options.target / f"{name}.jsonl", chosen)
        counts = ", ".join(f"{part.__name__} {len(found):,}" for part, found in zip(parts, records, strict=True))
        print(f"{name}.jsonl: {len(chosen):,} of {sum(map(len, records)):,} ({counts})")


def _asked_about(records: list[Record]) -> set[str]:
    """The texts inside of questions, by their letters; short ones may well stand in both places."""
    questions = [turn["content"] for record in records for turn in record.get("messages", ()) if turn["role"] == "user"]
    found = {_letters(part) for question in questions for part in question.split("\n\n")}
    return {letters for letters in found if len(letters) >= _SHORTEST}


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).lower()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Lays out public data sets as the quickstart's --data folder.")
    parser.add_argument("--from", dest="source", type=Path, required=True, help="the folder of the data sets")
    parser.add_argument("--to", dest="target", type=Path, required=True, help="the folder to write")
    parser.add_argument("--max-per-file", type=int, default=MOST_PER_FILE, help="records of one file at most")
    options = parser.parse_args()
    if not options.source.is_dir():
        sys.exit(f"lay_out_shared_data.py: {options.source}: no such folder")
    if options.max_per_file < 1:
        sys.exit(f"lay_out_shared_data.py: --max-per-file {options.max_per_file} leaves nothing")
    return options


def _numbered(part: Part, folder: Path) -> list[Record]:
    """The records of one part with their ids; a data set that is not there is left out, and said so."""
    try:
        return [{"id": f"{part.__name__}-{i}", **record} for i, record in enumerate(part(folder))]
    except FileNotFoundError as error:
        print(f"{part.__name__}: left out, {error.filename} is missing", file=sys.stderr)
        return []


def _share_out(parts: list[list[Record]], most: int, name: str) -> list[Record]:
    """At most `most` records, as evenly from the parts as their sizes allow, shuffled."""
    rng = random.Random(name)
    chosen: list[Record] = []
    by_size = sorted(parts, key=len)
    for number, part in enumerate(by_size):
        quota = -(-(most - len(chosen)) // (len(by_size) - number))
        chosen += part if len(part) <= quota else rng.sample(part, quota)
    rng.shuffle(chosen)
    return chosen[:most]


def _write(path: Path, records: Iterable[Record]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        for record in records:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")


# Reading the data sets' own formats.


def _lines(path: Path) -> list[str]:
    # Not splitlines, which also breaks at line separators inside a text.
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def _jsonl(path: Path) -> Iterator[Any]:
    with open(path, encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _conll(path: Path) -> Iterator[list[tuple[str, str]]]:
    """Sentences as (token, tag) pairs."""
    for is_text, rows in itertools.groupby(_lines(path), key=lambda line: bool(line.strip())):
        if is_text:
            yield [(row.split("\t")[0].strip(), row.split("\t")[-1].strip()) for row in rows]


def _entities(sentence: list[tuple[str, str]], separator: str) -> list[tuple[str, str]]:
    """(type, text) of a sentence's BIO tags, each once, in order."""
    found: list[tuple[str, list[str]]] = []
    inside = False
    for token, tag in sentence:
        if tag.startswith("B-"):
            found.append((tag[2:], [token]))
        elif tag.startswith("I-") and inside:
            found[-1][1].append(token)
        inside = tag.startswith("B-") or (inside and tag.startswith("I-"))
    return list(dict.fromkeys((kind, separator.join(tokens)) for kind, tokens in found))


_CLOSES_UP = re.compile(r" +(?=[.,!?;:%)\]}…]|n't\b|'(?:s|m|re|ve|ll|d)\b)|(?<=[(\[{#$]) +|(?<=\S) +(?=…)")


def _detokenised(tokens: Iterable[str]) -> str:
    """Tokens of a tweet as its author wrote them, as far as that can be told."""
    return _CLOSES_UP.sub("", " ".join(tokens).replace("'\"'", '"'))


_BETWEEN_CHINESE = re.compile(
    r"(?<=[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]) (?=\S)|(?<=\S) (?=[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef])"
)


def _joined(words: str) -> str:
    """Segmented Chinese without its spaces; those between Latin words stay."""
    return _BETWEEN_CHINESE.sub("", words).replace("MENTION", "@user ").replace("URL", "").replace("DIGIT", "0").strip()


# Posts.


def goemotions_comments(folder: Path) -> Iterator[Record]:
    for line in _lines(folder / "social_en/goemotions/train.tsv"):
        yield {"text": line.split("\t")[0]}


def raw_tweets(folder: Path) -> Iterator[Record]:
    for name in ("gurez", "ile", "palm", "rigo"):
        for line in _lines(folder / f"social_en/wnut17_raw/{name}.10000.txt"):
            yield {"text": line}


def youtube_comments(folder: Path) -> Iterator[Record]:
    for line in _lines(folder / "social_en/wnut17_raw/yt-filter.txt"):
        yield {"text": line}


def broad_tweets(folder: Path) -> Iterator[Record]:
    for sentence in _conll(folder / "social_en/broad_twitter_ner/train.conll"):
        yield {"text": _detokenised(token for token, _ in sentence)}


def cold_comments(folder: Path) -> Iterator[Record]:
    with open(folder / "social_zh/cold/train.csv", encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            yield {"text": row["TEXT"], "topic": row["topic"]}


def _weibo(folder: Path) -> list[Any]:
    return list(_jsonl(folder / "social_zh/weibo_hashtag.jsonl"))


def _weibo_border(posts: list[Any]) -> int:
    """Posts before it are posts, those after it become conversations."""
    return len(posts) * 3 // 4


def weibo_posts(folder: Path) -> Iterator[Record]:
    posts = _weibo(folder)
    for post in posts[: _weibo_border(posts)]:
        tags = "".join(f"#{_joined(tag)}#" for tag in post["tags"])
        yield {"text": f"{_joined(post['post'])}{tags}", "comments": [{"text": _joined(post["conv"])}]}


def film_and_music_threads(folder: Path) -> Iterator[Record]:
    """Two people on a film or a song: the first opens a thread, both reply in turn."""
    for topic in ("film", "music"):
        for talk in _jsonl(folder / f"social_zh/kdconv_{topic}.jsonl"):
            first, *rest = talk["messages"]
            replies = [{"text": text, "author": "host" if i % 2 else "guest"} for i, text in enumerate(rest)]
            yield {"text": first, "author": "host", "topic": talk["name"], "comments": replies}


def wikipedia(folder: Path) -> Iterator[Record]:
    for line in _lines(folder / "general/wiki_demo.txt"):
        if line.strip():
            yield {"text": line}


_WIKITEXT_SPACING = [
    (r" @([-.,])@ ", r"\1"),
    (r" ([.,;:!?)%])", r"\1"),
    (r"([(]) ", r"\1"),
    (r' " ([^"]*) " ', r' "\1" '),
]


def wikitext_articles(folder: Path) -> Iterator[Record]:
    text = (folder / "general/wikitext2_valid.txt").read_text(encoding="utf-8")
    for article in re.split(r"\n(?= = [^=])", text):
        for pattern, replacement in _WIKITEXT_SPACING:
            article = re.sub(pattern, replacement, article)
        lines = [line.strip().strip("= ") for line in article.split("\n")]
        if body := "\n".join(line for line in lines if line):
            yield {"text": body}


def web_pages(folder: Path) -> Iterator[Record]:
    for page in _jsonl(folder / "general/c4_demo.jsonl"):
        yield {"text": page["text"]}


def _cmrc(folder: Path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Passages of Chinese Wikipedia with their (question, answer) pairs."""
    for name in ("trial", "dev"):
        for article in _json(folder / f"general/cmrc2018_{name}.json")["data"]:
            for passage in article["paragraphs"]:
                pairs = [(qa["question"], qa["answers"][0]["text"]) for qa in passage["qas"]]
                yield passage["context"], pairs


def chinese_wikipedia(folder: Path) -> Iterator[Record]:
    for context, _ in itertools.islice(_cmrc(folder), 0, None, 2):
        yield {"text": context}


def shakespeare(folder: Path) -> Iterator[Record]:
    """Speeches, some thousand characters at a time."""
    page = ""
    for speech in (folder / "general/tinyshakespeare.txt").read_text(encoding="utf-8").split("\n\n"):
        page += speech + "\n\n"
        if len(page) > 2000:
            yield {"text": page.strip()}
            page = ""


# Conversations.


def _conversation(question: str, answer: str, system: str | None = None) -> Record:
    first = [{"role": "system", "content": system}] if system else []
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": first + turns}


def emotions(folder: Path) -> Iterator[Record]:
    labels = _lines(folder / "social_en/goemotions/labels.txt")
    task = f"Which emotion does this comment express? Answer with one of: {', '.join(labels)}."
    for line in _lines(folder / "social_en/goemotions/dev.tsv"):
        text, numbers, _ = line.split("\t")
        if "," not in numbers:
            yield _conversation(f"{task}\n\n{text}", labels[int(numbers)])


def sentiments(folder: Path) -> Iterator[Record]:
    """Tweets on which VADER's twenty raters lean one way: a mean of at least 1 on their scale of -4 to 4."""
    task = "Is the feeling in this tweet positive or negative? Answer with one word."
    for line in _lines(folder / "social_en/vader_tweets.tsv"):
        _, score, text = line.split("\t", 2)
        if abs(float(score)) >= 1:
            yield _conversation(f"{task}\n\n{text}", "positive" if float(score) > 0 else "negative")


def offensive_or_not(folder: Path) -> Iterator[Record]:
    with open(folder / "social_zh/cold/dev.csv", encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            answer = "冒犯" if row["label"] == "1" else "不冒犯"
            yield _conversation(f"判断下面这条评论是否冒犯他人，只回答“冒犯”或“不冒犯”。\n\n{row['TEXT']}", answer)


def _entity_conversations(
    sentences: Iterator[list[tuple[str, str]]], kinds: dict[str, str], chinese: bool
) -> Iterator[Record]:
    """Asks for the entities of one kind in each sentence that has any."""
    for sentence in sentences:
        tokens = [token[:-1] if chinese else token for token, _ in sentence]
        labelled = list(zip(tokens, [tag for _, tag in sentence], strict=True))
        text = "".join(tokens) if chinese else _detokenised(tokens)
        found = _entities(labelled, "" if chinese else " ")
        for kind, name in kinds.items():
            names = [entity for label, entity in found if label == kind and entity in text]
            if names and chinese:
                yield _conversation(f"找出下面微博中的{name}，用逗号分隔，按出现顺序回答。\n\n{text}", "，".join(names))
            elif names:
                task = f"List the {name} named in this post, in order, separated by commas."
                yield _conversation(f"{task}\n\n{text}", ", ".join(names))


def tweet_entities(folder: Path) -> Iterator[Record]:
    kinds = {"person": "people", "location": "places", "corporation": "companies", "product": "products"}
    for name in ("train", "dev"):
        yield from _entity_conversations(_conll(folder / f"social_en/wnut17_ner/{name}.conll"), kinds, chinese=False)


def broad_tweet_entities(folder: Path) -> Iterator[Record]:
    kinds = {"PER": "people", "LOC": "places", "ORG": "organisations"}
    yield from _entity_conversations(_conll(folder / "social_en/broad_twitter_ner/dev.conll"), kinds, chinese=False)


def weibo_entities(folder: Path) -> Iterator[Record]:
    kinds = {"PER.NAM": "人名", "GPE.NAM": "地名", "ORG.NAM": "机构名"}
    for name in ("train", "dev"):
        yield from _entity_conversations(_conll(folder / f"social_zh/weibo_ner/{name}.conll"), kinds, chinese=True)


def weibo_hashtags(folder: Path) -> Iterator[Record]:
    """Hashtags whose words stand in the post."""
    posts = _weibo(folder)
    for post in posts[_weibo_border(posts) :]:
        text, tag = _joined(post["post"]), _joined(post["tags"][0])
        if tag in text and tag != text:
            yield _conversation(f"从下面的微博中抽取话题标签，只回答标签本身。\n\n{text}", tag)


def passage_answers(folder: Path) -> Iterator[Record]:
    for context, pairs in itertools.islice(_cmrc(folder), 1, None, 4):
        for question, answer in pairs[:2]:
            if answer in context:
                yield _conversation(f"根据短文回答问题，答案用原文中的词句。\n\n{context}\n\n问题：{question}", answer)


def question_and_passage(folder: Path) -> Iterator[Record]:
    """A question with its own passage, or with the one before."""
    passages = list(itertools.islice(_cmrc(folder), 3, None, 4))
    for i, (context, pairs) in enumerate(passages):
        other = passages[i - 1][0]
        for number, (question, _) in enumerate(pairs[:2]):
            shown, answer = (context, "相关") if (i + number) % 2 else (other, "不相关")
            yield _conversation(
                f"查询与笔记是否相关？只回答“相关”或“不相关”。\n\n查询：{question}\n笔记：{shown}", answer
            )


def hashtag_and_post(folder: Path) -> Iterator[Record]:
    """A post with its own hashtag, or with another post's that it does not mention."""
    posts = [post for post in _weibo(folder)[_weibo_border(_weibo(folder)) :] if len(_joined(post["post"])) >= 20]
    for i, post in enumerate(posts):
        text, other = _joined(post["post"]), _joined(posts[i - 1]["tags"][0])
        own = [_joined(tag) for tag in post["tags"]]
        if i % 2 == 0:
            yield _conversation(f"话题“{own[0]}”与这条微博相关吗？只回答“相关”或“不相关”。\n\n{text}", "相关")
        elif other not in own and other not in text:
            yield _conversation(f"话题“{other}”与这条微博相关吗？只回答“相关”或“不相关”。\n\n{text}", "不相关")


def questions_after_reading(folder: Path) -> Iterator[Record]:
    for context, pairs in itertools.islice(_cmrc(folder), 1, None, 4):
        if len(pairs) > 2:
            yield _conversation(f"用户读完下面的笔记后，可能会搜索什么问题？写出一个。\n\n{context}", pairs[2][0])


def next_question(folder: Path) -> Iterator[Record]:
    """What a person asks next on a journey."""
    for talk in itertools.islice(_jsonl(folder / "social_zh/kdconv_travel.jsonl"), 0, None, 2):
        turns = talk["messages"]
        for end in range(2, len(turns), 4):
            if turns[end].endswith(("？", "?", "吗", "呢")):
                history = "\n".join(turns[:end])
                yield _conversation(f"用户正在聊“{talk['name']}”，接下来会问什么？\n\n{history}", turns[end])


def reader_comments(folder: Path) -> Iterator[Record]:
    posts = _weibo(folder)
    for post in posts[_weibo_border(posts) :]:
        text, comment = _joined(post["post"]), _joined(post["conv"])
        if 4 <= len(comment) <= 60 and len(text) >= 20:
            yield _conversation(f"读者看到这条微博后会怎么评论？写一条。\n\n{text}", comment)


def role_play(folder: Path) -> Iterator[Record]:
    for item in _json(folder / "sft/gpteacher_roleplay.json"):
        yield _instruction(item)


def travel_talks(folder: Path) -> Iterator[Record]:
    for talk in itertools.islice(_jsonl(folder / "social_zh/kdconv_travel.jsonl"), 1, None, 2):
        turns = talk["messages"][: len(talk["messages"]) // 2 * 2]
        roles = itertools.cycle(("user", "assistant"))
        messages = [{"role": role, "content": text} for role, text in zip(roles, turns, strict=False)]
        yield {"messages": [{"role": "system", "content": f"你是一位爱旅行的朋友，正在聊{talk['name']}。"}, *messages]}


def tatoeba(folder: Path) -> Iterator[Record]:
    """Sentence pairs of some length, in turn into Chinese and into English."""
    pairs = [line.split("\t")[:2] for line in _lines(folder / "sft/tatoeba_cmn_eng.txt")]
    for i, (english, chinese) in enumerate(pair for pair in pairs if len(pair[0]) >= 25):
        if i % 2:
            yield _conversation(f"把下面的句子翻译成英文。\n\n{chinese}", english)
        else:
            yield _conversation(f"Translate into Chinese.\n\n{english}", chinese)


def _instruction(item: Record) -> Record:
    question = f"{item['instruction']}\n\n{item['input']}" if item["input"] else item["instruction"]
    return _conversation(question, item["output"])


def alpaca_en(folder: Path) -> Iterator[Record]:
    yield from map(_instruction, _json(folder / "sft/alpaca_en_demo.json"))


def alpaca_zh(folder: Path) -> Iterator[Record]:
    yield from map(_instruction, _json(folder / "sft/alpaca_zh_demo.json"))


def school_mathematics(folder: Path) -> Iterator[Record]:
    for item in _jsonl(folder / "sft/gsm8k_train.jsonl"):
        yield _conversation(item["question"], re.sub(r"<<[^>]*>>", "", item["answer"]))


def self_instruct(folder: Path) -> Iterator[Record]:
    for item in _jsonl(folder / "sft/self_instruct_seed.jsonl"):
        instance = item["instances"][0]
        yield _instruction({"instruction": item["instruction"], **instance})


# Preferences.


def _sharegpt_pairs(path: Path) -> Iterator[Record]:
    roles = {"human": "user", "gpt": "assistant", "system": "system"}

    def message(turn: Record) -> Record:
        return {"role": roles[turn["from"]], "content": turn["value"]}

    for item in _json(path):
        prompt = [message(turn) for turn in item["conversations"]]
        yield {"prompt": prompt, "chosen": [message(item["chosen"])], "rejected": [message(item["rejected"])]}


def preferences_en(folder: Path) -> Iterator[Record]:
    yield from _sharegpt_pairs(folder / "dpo/dpo_en_demo.json")


def preferences_zh(folder: Path) -> Iterator[Record]:
    yield from _sharegpt_pairs(folder / "dpo/dpo_zh_demo.json")


def harmless(folder: Path) -> Iterator[Record]:
    """Dialogues whose two versions part at the last answer."""
    for item in _jsonl(folder / "dpo/hh_rlhf_harmless_a.jsonl"):
        chosen, rejected = _hh_messages(item["chosen"]), _hh_messages(item["rejected"])
        alike = chosen[:-1] == rejected[:-1] and chosen[-1]["role"] == rejected[-1]["role"] == "assistant"
        if alike and chosen[-1]["content"] and rejected[-1]["content"] and chosen[-1] != rejected[-1]:
            yield {"prompt": chosen[:-1], "chosen": chosen[-1:], "rejected": rejected[-1:]}


def _hh_messages(dialogue: str) -> list[Record]:
    parts = re.split(r"\n\n(Human|Assistant):", dialogue)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[who], "content": text.strip()} for who, text in zip(parts[::2], parts[1::2], strict=True)]


LAYOUT: dict[str, list[Part]] = {
    "posts/social": [
        goemotions_comments,
        raw_tweets,
        youtube_comments,
        broad_tweets,
        cold_comments,
        weibo_posts,
        film_and_music_threads,
    ],
    "posts/general": [wikipedia, wikitext_articles, web_pages, chinese_wikipedia, shakespeare],
    "conversations/content_understanding": [emotions, sentiments, offensive_or_not],
    "conversations/information_extraction": [
        tweet_entities,
        broad_tweet_entities,
        weibo_entities,
        weibo_hashtags,
        passage_answers,
    ],
    "conversations/semantic_matching": [question_and_passage, hashtag_and_post],
    "conversations/user_behaviour": [questions_after_reading, next_question, reader_comments],
    "conversations/dialogue_persona": [role_play, travel_talks],
    "conversations/translation": [tatoeba],
    "conversations/general": [alpaca_en, alpaca_zh, school_mathematics, self_instruct],
    "preferences/pairs": [preferences_en, preferences_zh, harmless],
}


if __name__ == "__main__":
    main()
