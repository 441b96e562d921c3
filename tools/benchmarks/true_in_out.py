"""What comes in and goes out, counted: known cases, kinds of files, chats, model folders, and other programs' readings.

    python tools/benchmarks/true_in_out.py --clients CLIENTS.json [--seed 0]

CLIENTS.json is what `bash tests/clients.sh --to CLIENTS.json` writes. Counts of the three generators are those of
tools/formats_agree.py, tools/answers_against_transformers.py and tools/model_folder_fuzzer.py. About twenty minutes.
"""

import os
import sys

# A script's folder comes first on the path, where tokenize.py would stand for Python's own `tokenize`.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

from tools.benchmarks.recording import record

READING, TEMPLATES = "end_to_end/test_reading.py", "end_to_end/test_carried_template.py"
CONVERSATIONS, PAIRS = "unit/curation/conversations", "unit/curation/pair_formats"
FOLDERS, ROPE = "unit/model_folders", "unit/architectures/test_rope_parameters.py"
# What was read or written wrongly before, and the test that holds it: a file of tests/, and one of its functions.
CASES = {
    "Parquet: text as bytes": (READING, "test_text_that_spark_stores_as_bytes_is_text"),
    "Parquet: bytes that are no text": (READING, "test_bytes_that_are_no_text_are_one_rows_fault_in_every_stage"),
    "Parquet: nulls of other tools' arguments": (READING, "test_calls_and_schemas_are_those_of_json_lines"),
    "a null default in a schema": (READING, "test_a_null_default_stays_in_a_schema"),
    "turns that are not to be learned": (f"{CONVERSATIONS}/test_turn_marks.py", None),
    "reasoning and texts that a template drops": (f"{CONVERSATIONS}/test_learned_rows.py", None),
    "a template of one's own": (TEMPLATES, "test_what_was_trained_is_what_the_export_renders"),
    "pairs that differ in their reasoning": (f"{PAIRS}/test_encoding.py", None),
    "NeMo-RL's pairs": (
        "end_to_end/test_prepare_preferences.py",
        "test_nemo_rls_pairs_are_read_and_advice_names_keys_that_exist",
    ),
    "tied embeddings beside another head": (f"{FOLDERS}/test_hf_reader.py", None),
    "old shards beside a newer file": (f"{FOLDERS}/test_weight_files.py", "test_unclear_folders_are_refused"),
    "two spellings of rope": (ROPE, "test_two_spellings_that_differ_in_anything_are_refused"),
    "rope that lacks numbers": (ROPE, "test_what_is_not_computed_is_refused"),
    "defaults of classes": ("unit/architectures/test_families.py", None),
    "named chat templates": (
        "unit/conversion/test_hf_files.py",
        "test_everything_that_transformers_reads_travels_and_nothing_else",
    ),
    "NaN and half a surrogate": (READING, "test_every_stage_has_one_rule_of_what_is_no_text"),
    "an array given to tokenize": (READING, "test_an_array_given_to_tokenize_and_curate_is_read"),
    "rows longer than the model": (
        "unit/training/test_run_inputs.py",
        "test_rows_longer_than_the_model_knows_are_told",
    ),
}


def main() -> None:
    """Counts, prints, and writes the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=Path, required=True, help="what tests/clients.sh wrote")
    parser.add_argument("--records", type=int, default=2000, help="generated conversations, pairs and posts, of each")
    parser.add_argument("--chats", type=int, default=500, help="generated chats")
    parser.add_argument("--folders", type=int, default=300, help="spoiled model folders")
    parser.add_argument("--seed", type=int, default=0, help="of chats and folders")
    parser.add_argument("--notes", default="", help="added to the result")
    options = parser.parse_args()
    seed = ["--seed", str(options.seed)]
    formats = counts("formats_agree.py", str(options.records))
    chats = counts("answers_against_transformers.py", "--chats", str(options.chats), *seed)
    folders = counts("model_folder_fuzzer.py", "--folders", str(options.folders), *seed)
    clients = json.loads(options.clients.read_text())
    right = [case for case, test in CASES.items() if passes(*test)]
    is_read = clients["clients"] == clients["clients_equal"]
    for case in CASES.keys() - set(right):
        print(f"wrong: {case} {CASES[case]}", file=sys.stderr)
    metrics = {
        "cases": len(CASES) + 1,
        "cases_right": len(right) + is_read,
        "clients": clients["clients"],
        "clients_equal": clients["clients_equal"],
        "tracebacks": formats["tracebacks"] + chats["tracebacks"] + folders["tracebacks"],
        **{
            f"{of}_refused" if name == "refused" else name: value
            for of, found in (("formats", formats), ("chats", chats), ("folders", folders))
            for name, value in found.items()
            if name != "tracebacks" and isinstance(value, int | float)
        },
    }
    notes = (
        "cases: inputs that were read or written wrongly once, each held by a test; the last is the comparison "
        "of clients. clients: readings of exports by transformers 4.45, 4.57, 5 or CTranslate2; equal: logits in fp32 "
        "within 1e-5, or the same greedy tokens, and the same token ids. formats_differing: readings of generated "
        "records from JSON, gz, zst and Parquet in three styles that differ from those of JSON lines; lost_uncounted: "
        "parts of answers that are neither learned nor counted as lost, on seven chat templates; "
        "folders_silently_different: spoiled model folders that are read otherwise than by transformers. "
        f"{options.notes}"
    )
    packages = ("megatron_redone", "megatron-core", "torch", "transformers", "pyarrow", "hypothesis")
    record("true_in_out", metrics, packages, notes.strip())


def counts(script: str, *arguments: str) -> dict[str, Any]:
    """What a script of tools/ prints as JSON; where it ends with another code than 0, its counts say why."""
    command = [sys.executable, "-W", "ignore", f"tools/{script}", *arguments]
    text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout
    return json.loads(text[text.index("{") :])


def passes(file: str, function: str | None) -> bool:
    """Whether a test, or all of a file, pass."""
    test = f"tests/{file}" if function is None else f"tests/{file}::{function}"
    command = [sys.executable, "-m", "pytest", "-q", "-W", "ignore", test]
    return subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0


if __name__ == "__main__":
    main()
