"""RedTrans-Bench (HC-Guo/RedTrans): social text between Chinese and English.

Scored by sacrebleu's sentence BLEU and chrF++.
"""

import json
from typing import Any

from megatron_redone.evaluation.benchmarks.datasets import as_dataset
from megatron_redone.evaluation.benchmarks.local_files import find_file, find_folder, read_json_records

_NAMES = {"zh": "Chinese", "en": "English"}
_TOKENIZERS = {"zh": "zh", "en": "13a"}


def load(*, source: str, target: str, data: str | None = None, **_: Any) -> dict[str, Any]:
    """The records of a direction.

    Raises:
        UserError: no data, or a record without its keys.
    """
    folder = find_folder("redtrans", data)
    file = find_file("redtrans", folder, "RedTrans-Bench.json", "SNS-TransBench.json")
    records = read_json_records("redtrans", file, ("zh", "en", "src_lang", "dst_lang"))
    return as_dataset(
        [
            {
                "prompt": (
                    f"Translate the following {_NAMES[source]} social media text into {_NAMES[target]}. "
                    f"Give the translation alone.\n\n{record[source].strip()}"
                ),
                "gold": record[target].strip(),
                "language": target,
                "rules": json.dumps({"a copy of the text": record[source].strip()}, ensure_ascii=False),
            }
            for record in records
            if (record["src_lang"], record["dst_lang"]) == (source, target)
        ]
    )


def score(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Sentence BLEU and chrF++ (word order 2), between 0 and 1; the mean over sentences is the benchmark's."""
    from sacrebleu import sentence_bleu, sentence_chrf

    answer, gold = results[0].strip(), [doc["gold"]]
    return {
        "bleu": sentence_bleu(answer, gold, tokenize=_TOKENIZERS[doc["language"]]).score / 100,
        "chrf": sentence_chrf(answer, gold, word_order=2).score / 100,
    }
