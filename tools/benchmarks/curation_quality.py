"""What `redone curate` finds, and what it leaves alone, on real text with known things planted into it.

    python tools/benchmarks/curation_quality.py --data ../shared/data --part personal_data

Parts:

    personal_data     items of each kind, made as their issuers make them, in real posts of both languages and in
                      the spellings that people hide them in; then posts as they are, of which all that are touched
                      are listed
    near_duplicates   pairs of Jaccard similarity 0.8 and more among real posts and edited copies of some of them,
                      against brute force; datatrove's MinHash on the same
    language          posts of data sets in one language
    decontamination   items of evaluation sets written in six ways; then posts as they are
"""

import os
import sys

# The module `tokenize` of the standard library is hidden by a script in this folder, unless that comes last.
HERE = os.path.dirname(__file__)
sys.path[:] = [*(path for path in sys.path if os.path.abspath(path) != os.path.abspath(HERE)), HERE]

import argparse
import csv
import hashlib
import json
import random
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from planted_personal_data import KINDS
from real_text import documents
from recording import RESULTS, record_part

_DIGITS_BUT_LAST = re.compile(r"\d(?=\d{3})")
_PACKAGES = ["datatrove", "phonenumberslite", "pycld2", "numpy", "xxhash"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder of public data sets; see real_text.py")
    parser.add_argument("--part", choices=PARTS, required=True)
    arguments = parser.parse_args()
    metrics, notes = PARTS[arguments.part](arguments.data)
    record_part("curation_quality", arguments.part, metrics, _PACKAGES, notes)


Metrics = dict[str, float]


def posts(data: Path, parts: tuple[str, ...], number: int, seed: int) -> list[str]:
    """Different real posts, in an order that the seed decides."""
    found = sorted(set(documents(data, parts)))
    random.Random(seed).shuffle(found)
    return found[:number]


def personal_data(data: Path, items: int = 2000) -> tuple[Metrics, str]:
    """Recall by kind over planted items; posts touched among 10,000 that nothing was planted into."""
    from megatron_redone.curation.cleaning import clean, mask_mentions
    from megatron_redone.curation.personal_data import replace_personal_data

    carriers = {
        language: [text for text in posts(data, (part,), 60_000, 1) if replace_personal_data(text)[1] == []]
        for language, part in (("zh", "social_zh"), ("en", "social_en"))
    }
    metrics: Metrics = {}
    for kind, make in KINDS.items():
        rng = random.Random(kind)
        found = 0
        missed: list[str] = []
        for number in range(items):
            language = "zh" if number % 2 else "en"
            phrase, core = make(rng, language)
            text = _planted(rng, rng.choice(carriers[language]), phrase)
            if core in replace_personal_data(text)[0]:
                missed.append(phrase)
            else:
                found += 1
        metrics[f"pii_recall_{kind}"] = found / items
        print(kind, found / items, missed[:8], file=sys.stderr)
    metrics["pii_recall_min"] = min(metrics.values())
    clean_posts = posts(data, ("social_zh", "social_en"), 10_000, 2)
    checked = (Path(HERE) / "posts_with_personal_data.txt").read_text().split()
    touched = []
    for text in clean_posts:
        _, spans = replace_personal_data(mask_mentions(clean(text), {}))
        if spans:
            plain = mask_mentions(clean(text), {})
            post = hashlib.sha256(text.encode()).hexdigest()[:12]
            touched.append(
                {
                    "post": post,
                    "kinds": [s.kind for s in spans],
                    "found": [_DIGITS_BUT_LAST.sub("x", plain[s.start : s.end]) for s in spans],
                }
            )
    wrong = sum(one["post"] not in checked for one in touched)
    metrics["pii_touched_share"] = len(touched) / len(clean_posts)
    metrics["pii_touched_clean_share"] = wrong / (len(clean_posts) - len(touched) + wrong)
    lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in touched)
    (RESULTS / "curation_quality_touched.jsonl").write_text(lines, encoding="utf-8")
    return metrics, (
        f"{items} items of each kind, half in Chinese and half in English posts; one counts as found if its text is "
        f"gone. Of 10,000 other posts {len(touched)} were touched, {len(touched) - wrong} of them with personal data "
        "indeed, by a check of each: curation_quality_touched.jsonl lists all, most digits as x."
    )


def _planted(rng: random.Random, carrier: str, phrase: str) -> str:
    place = rng.choice([0, len(carrier), *(m.end() for m in re.finditer(r"[，。！？,.!?]", carrier))])
    return f"{carrier[:place]} {phrase} {carrier[place:]}"


def near_duplicates(data: Path, number: int = 10_000) -> tuple[Metrics, str]:
    """Verified pairs against brute force over shingle sets; and datatrove's, whose pairs are not verified."""
    from megatron_redone.config.curate import MinHashConfig
    from megatron_redone.curation.fingerprint import normal_form, shingle_sets

    texts = posts(data, ("social_zh", "social_en"), number, 3)
    rng = random.Random(4)
    texts[number * 4 // 5 :] = [
        _edited(rng, text) for text in rng.sample(texts[: number * 4 // 5], number - number * 4 // 5)
    ]
    config = MinHashConfig()
    sets = shingle_sets([normal_form(text) for text in texts], config.ngram)
    parts = np.split(sets.values, np.cumsum(sets.sizes)[:-1])
    truth = _brute_force(parts, config.min_jaccard)
    metrics: Metrics = {"near_dup_posts": number, "near_dup_true_pairs": len(truth)}
    with tempfile.TemporaryDirectory() as folder:
        ours = _our_pairs(Path(folder), texts)
        theirs, unsigned = _datatrove_pairs(Path(folder), texts)
    for name, pairs in (("near_dup", ours), ("near_dup_datatrove", theirs)):
        metrics[f"{name}_recall"] = len(pairs & truth) / len(truth)
        metrics[f"{name}_precision"] = len(pairs & truth) / max(1, len(pairs))
    metrics["near_dup_datatrove_without_signature"] = unsigned / number
    return metrics, (
        "Real posts, a fifth of them edited copies of others (a word changed, left out or added). The truth is the "
        "Jaccard similarity of our shingles, of all pairs; datatrove with its defaults, words split at white space and "
        "Chinese characters apart."
    )


def _edited(rng: random.Random, text: str) -> str:
    words = text.split(" ") if " " in text else list(text)
    for _ in range(rng.randint(1, 2)):
        place = rng.randrange(len(words))
        words[place : place + 1] = rng.choice([[], ["ok"], [words[place], "更"]])
        words = words or ["ok"]
    return (" " if " " in text else "").join(words)


def _brute_force(parts: list[np.ndarray], least: float) -> set[tuple[int, int]]:
    """Every pair that shares a shingle, counted one by one: no other can be alike at all."""
    owners: defaultdict[int, list[int]] = defaultdict(list)
    pairs = set()
    for number, part in enumerate(parts):
        common: Counter[int] = Counter()
        for shingle in part.tolist():
            common.update(owners[shingle])
            owners[shingle].append(number)
        pairs |= {(o, number) for o, c in common.items() if c >= least * (len(part) + len(parts[o]) - c)}
    return pairs


def _our_pairs(folder: Path, texts: list[str]) -> set[tuple[int, int]]:
    from datatrove.data import Document

    from megatron_redone.config.curate import MinHashConfig
    from megatron_redone.curation.deduplication import near_passes
    from megatron_redone.curation.prints import PrintWriter

    config = MinHashConfig()
    writer = PrintWriter(config, True, 0, ["posts"], folder / "prints", 1)
    list(writer.run(Document(text, "", metadata={"source": "posts"}) for text in texts))
    for one in near_passes(config, folder / "prints", folder / "none", folder / "near", 1, 1)[:2]:
        for rank in range(one.tasks):
            for step in one.steps:
                step.run(None, rank, one.tasks)
    return {(a, b) for a, b in np.load(folder / "near/verified/00000.npy").tolist()}


def _datatrove_pairs(folder: Path, texts: list[str]) -> tuple[set[tuple[int, int]], int]:
    import struct

    from datatrove.data import Document
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets, MinhashDedupSignature
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.word_tokenizers import WhitespaceTokenizer

    unsigned = 0

    class Signature(MinhashDedupSignature):
        """datatrove's own, with hashes of bytes, which xxhash 4 asks for."""

        def get_shingles(self, text: str) -> np.ndarray:
            nonlocal unsigned
            import xxhash
            from datatrove.utils.text import simplify_text

            spaced = re.sub("([\u4e00-\u9fff])", r" \1 ", text)
            words = simplify_text(spaced, self.config.norm_config).split()
            n = self.config.n_grams
            found = {xxhash.xxh64_intdigest(" ".join(words[i : i + n]).encode()) for i in range(len(words) - n + 1)}
            unsigned += not found
            return np.fromiter(found, np.uint64, len(found)).reshape(-1, 1)

    config = MinhashConfig(hash_config=HashConfig(precision=64))
    sign = Signature(str(folder / "signatures"), config, WhitespaceTokenizer())  # type: ignore[arg-type]
    sign.run(iter([Document(text, str(i), metadata={}) for i, text in enumerate(texts)]))
    for rank in range(config.num_buckets):
        MinhashDedupBuckets(str(folder / "signatures"), str(folder / "pairs"), config=config).run(
            None, rank, config.num_buckets
        )
    group: dict[int, int] = {}

    def root(a: int) -> int:
        while group.setdefault(a, a) != a:
            a = group[a]
        return a

    for path in (folder / "pairs").glob("*.dups"):
        for _, a, _, b in struct.iter_unpack("<4I", path.read_bytes()):
            group[root(max(a, b))] = root(min(a, b))
    members: defaultdict[int, list[int]] = defaultdict(list)
    for one in sorted(group):
        members[root(one)].append(one)
    pairs = {(a, b) for found in members.values() for i, a in enumerate(found) for b in found[i + 1 :]}
    return pairs, unsigned


def language(data: Path, number: int = 3000) -> tuple[Metrics, str]:
    """Shares that get their language's label: all posts, and short ones that are not called unknown."""
    from megatron_redone.curation.languages import UNKNOWN, languages_of

    texts = {"en": _goemotions(data), "zh": _cold(data)}
    metrics: Metrics = {}
    for code, found in texts.items():
        random.Random(5).shuffle(found)
        labels = [languages_of(text) for text in found[:number]]
        short = [languages_of(text) for text in [text for text in found if len(text) <= 20][:number]]
        told = [label for label in short if label != (UNKNOWN,)]
        metrics[f"language_accuracy_{code}"] = sum(label[0] == code for label in labels) / len(labels)
        metrics[f"language_accuracy_short_{code}"] = sum(label[0] == code for label in told) / len(told)
        metrics[f"language_unknown_short_{code}"] = 1 - len(told) / len(short)
    metrics["language_accuracy_min"] = min(metrics["language_accuracy_en"], metrics["language_accuracy_zh"])
    metrics["language_accuracy_short_min"] = min(
        metrics["language_accuracy_short_en"], metrics["language_accuracy_short_zh"]
    )
    return (
        metrics,
        f"{number} comments of GoEmotions (en) and COLD (zh) each, `unknown` counted as wrong but for short ones.",
    )


def _goemotions(data: Path) -> list[str]:
    return [line.split("\t")[0] for line in (data / "social_en/goemotions/train.tsv").open(encoding="utf-8")]


def _cold(data: Path) -> list[str]:
    with (data / "social_zh/cold/train.csv").open(encoding="utf-8", newline="") as stream:
        return [row["TEXT"] for row in csv.DictReader(stream)]


def decontamination(data: Path) -> tuple[Metrics, str]:
    """Items written in six ways into real posts, and real posts without any."""
    from megatron_redone.curation.contamination import ItemIndex
    from megatron_redone.curation.evaluation_items import read_items

    fields = list(read_items([str(data / "bench_dev")]))
    index = ItemIndex(fields, 13, 24, 3)
    carriers = posts(data, ("social_zh", "social_en"), 10_000, 6)
    by_item: defaultdict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for field, text in fields:
        by_item[field.benchmark, field.item][field.name] = text
    rng = random.Random(7)
    found: Counter[str] = Counter()
    planted = 0
    too_common = 0
    for parts in by_item.values():
        whole = "\n".join(parts.values())
        if not index.search([whole])[0]:
            too_common += 1
            continue
        planted += 1
        for name, text in _writings(rng, parts, carriers):
            found[name] += bool(index.search([text])[0])
    metrics: Metrics = {f"decontamination_recall_{name}": count / planted for name, count in found.items()}
    metrics["decontamination_recall"] = min(metrics.values())
    alarms = [text for text, runs in zip(carriers, index.search(carriers), strict=True) if runs]
    metrics |= {
        "decontamination_false_share": len(alarms) / len(carriers),
        "decontamination_items": planted,
        "decontamination_items_too_common": too_common,
    }
    print(alarms, file=sys.stderr)
    return metrics, (
        f"Items of MMLU's and CMMLU's dev splits, SNS-Bench and RedTrans samples; {too_common} of {len(by_item)} items "
        "have no field that is long and rare enough to be looked for and are not planted."
    )


def _writings(rng: random.Random, parts: dict[str, str], carriers: list[str]) -> Iterator[tuple[str, str]]:
    whole = " ".join(parts.values())
    words = whole.split()
    yield "quoted", whole
    yield "rewrapped", "\n".join(" ".join(words[i : i + 8]) for i in range(0, len(words), 8))
    yield "embedded", " ".join([*rng.sample(carriers, 60), whole, *rng.sample(carriers, 60)])
    middle = len(words) // 2 if len(words) > 3 else 0
    split = (
        [" ".join(words[:middle]), " ".join(words[middle:])]
        if middle
        else [whole[: len(whole) // 2], whole[len(whole) // 2 :]]
    )
    yield "split", "\n".join(split)
    yield "full_width", "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else "\u3000" if c == " " else c for c in whole)
    values = list(parts.values())
    yield "other_order", " ".join([values[0], *reversed(values[1:])])


PARTS: dict[str, Callable[[Path], tuple[Metrics, str]]] = {
    "personal_data": personal_data,
    "near_duplicates": near_duplicates,
    "language": language,
    "decontamination": decontamination,
}

if __name__ == "__main__":
    main()
