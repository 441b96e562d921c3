"""IFEval (google-research/instruction_following_eval, arXiv 2311.07911), checked by what the harness carries."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from megatron_redone.errors import UserError
from megatron_redone.evaluation.benchmarks.datasets import as_dataset
from megatron_redone.evaluation.benchmarks.local_files import find_file, find_folder, read_json_records

_NEEDS_SENTENCES = ("length_constraints:number_sentences", "change_case:capital_word_frequency")


def load(*, data: str | None = None, **_: Any) -> dict[str, Any]:
    """`input_data.jsonl`, as the benchmark comes.

    Two of its checks part sentences with nltk's punkt_tab; it is looked for in `nltk_data/` beside the file too.

    Raises:
        UserError: no data, a record without its keys, or no punkt_tab where a record needs it.
    """
    folder = find_folder("ifeval", data)
    file = find_file("ifeval", folder, "input_data.jsonl", "ifeval.jsonl")
    records = read_json_records("ifeval", file, ("key", "prompt", "instruction_id_list", "kwargs"))
    needs = {name for record in records for name in record["instruction_id_list"]} & {*_NEEDS_SENTENCES}
    _find_punkt(file.parent / "nltk_data", needs)
    return as_dataset([{"prompt": record["prompt"], "record": json.dumps(record)} for record in records])


def score(doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
    """The harness's four metrics."""
    return dict(_checks().process_results(json.loads(doc["record"]), results))


def mean_over_instructions(items: list[list[bool]]) -> float:
    """The share of all instructions that were followed."""
    followed = [each for item in items for each in item]
    return sum(followed) / len(followed)


def _find_punkt(folder: Path, needs: set[str]) -> None:
    import nltk

    if folder.is_dir() and str(folder) not in nltk.data.path:
        nltk.data.path.insert(0, str(folder))
    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        if needs:
            raise UserError(
                f"ifeval: {min(needs)} parts sentences with nltk's punkt_tab, which is not here; "
                f"`python -m nltk.downloader -d {folder} punkt_tab`"
            ) from None


@cache
def _checks() -> Any:
    """The harness's module fetches punkt_tab when it is imported and lacks it; here nothing is fetched."""
    import nltk

    fetch, nltk.download = nltk.download, lambda *_, **__: False
    try:
        from lm_eval.tasks.ifeval import utils
    finally:
        nltk.download = fetch
    return utils
