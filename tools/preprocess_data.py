"""`redone tokenize` under the flags of Megatron-LM's tools/preprocess_data.py.

Writes PREFIX_KEY_document.bin and .idx for every key, as Megatron-LM does.
"""

import argparse
import sys
from collections.abc import Sequence

from megatron_redone.cli import guarded
from megatron_redone.config.tokenize import TokenizeConfig
from megatron_redone.config.tokenizer import TiktokenPattern, TokenizerConfig
from megatron_redone.errors import UserError
from megatron_redone.stages import tokenize

TOKENIZER_TYPES = ("HuggingFaceTokenizer", "SentencePieceTokenizer", "GPTSentencePieceTokenizer", "Llama2Tokenizer",
                   "TikTokenizer")  # fmt: skip
# Megatron-LM's flags that mean nothing here, each with what to do instead.
NOT_SERVED = {
    "--split-sentences": "sentences are for BERT-like models; documents stay whole",
    "--keep-newlines": "it belongs to --split-sentences; newlines are always kept",
    "--lang": "it belongs to --split-sentences",
    "--vocab-file": "give a Hugging Face directory with tokenizer.json as --tokenizer-model",
    "--merge-file": "give a Hugging Face directory with tokenizer.json as --tokenizer-model",
    "--vocab-size": "the vocabulary is the tokenizer's",
    "--partitions": "the input is always cut into parts, which --workers processes share",
    "--keep-sequential-samples": "documents always keep their order, unless `redone tokenize shuffle=true`",
    "--log-interval": "progress is shown as it goes",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Parses Megatron-LM's flags and tokenizes every key; returns the exit code."""
    arguments, rest = build_parser().parse_known_args(argv)
    return guarded("preprocess_data.py", lambda: _run(arguments, rest))


def build_parser() -> argparse.ArgumentParser:
    """The flags that are served."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, nargs="+", help="JSONL or Parquet files, directories, globs or URLs")
    parser.add_argument("--output-prefix", required=True, help="path of the output without suffix")
    parser.add_argument("--json-keys", nargs="+", default=["text"], help="keys to take texts from")
    parser.add_argument("--tokenizer-type", required=True, help=", ".join(TOKENIZER_TYPES))
    parser.add_argument("--tokenizer-model", required=True, help="directory or file of the tokenizer")
    parser.add_argument("--tiktoken-pattern", choices=list(TiktokenPattern.__members__), help="of a .tiktoken file")
    parser.add_argument("--append-eod", action="store_true", help="end every document with its token")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 takes one for each core")
    return parser


def _run(arguments: argparse.Namespace, rest: Sequence[str]) -> None:
    for flag in (text.split("=")[0] for text in rest if text.startswith("-")):
        raise UserError(f"{flag}: {NOT_SERVED.get(flag, 'unknown flag')}")
    if rest:
        raise UserError(f"{rest[0]}: unexpected argument")
    if arguments.tokenizer_type not in TOKENIZER_TYPES:
        raise UserError(f"--tokenizer-type: {arguments.tokenizer_type} is not one of {', '.join(TOKENIZER_TYPES)}")
    pattern = TiktokenPattern[arguments.tiktoken_pattern] if arguments.tiktoken_pattern else None
    for key in arguments.json_keys:
        tokenize.run(
            TokenizeConfig(
                input=arguments.input,
                output_prefix=f"{arguments.output_prefix}_{key}_document",
                tokenizer=TokenizerConfig(path=arguments.tokenizer_model, tiktoken_pattern=pattern),
                text_key=key,
                append_eod=arguments.append_eod,
                workers=arguments.workers,
            )
        )


if __name__ == "__main__":
    sys.exit(main())
