"""`redone import-hf` and `redone export-hf` under the flags of Megatron-LM's tools/checkpoint/convert.py.

    tools/convert_checkpoint.py --model-type GPT --loader llama_mistral --checkpoint-type hf --saver core \\
        --load-dir HF --save-dir OUT          Hugging Face to a distributed checkpoint, as OUT/release
    tools/convert_checkpoint.py --model-type GPT --loader core --saver hf --load-dir RUN --save-dir HF
                                              a distributed checkpoint to Hugging Face
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# The repository, for those who run the script without installing it.
sys.path.insert(0, str(Path(__file__).parents[1]))

from megatron_redone.cli import guarded
from megatron_redone.config.export_hf import ExportHFConfig
from megatron_redone.config.import_hf import ImportHFConfig
from megatron_redone.config.weights_dtype import WeightsDtype
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import write_text
from megatron_redone.stages import export_hf, import_hf

FROM_HF, FROM_CORE = ("llama_mistral", "hf"), ("core", "mcore")
TO_HF, TO_CORE = ("hf",), ("core", "mcore")
# Megatron-LM's flags that mean nothing here, each with what to do instead.
NOT_SERVED = {
    "--target-tensor-parallel-size": "a distributed checkpoint loads on any layout",
    "--target-pipeline-parallel-size": "a distributed checkpoint loads on any layout",
    "--target-expert-parallel-size": "mixtures of experts are not supported",
    "--megatron-path": "megatron-core is a dependency",
    "--tokenizer-model": "the tokenizer of --load-dir goes with the weights",
    "--true-vocab-size": "the vocabulary's rows come from config.json",
    "--vocab-file": "the vocabulary's rows come from config.json",
    "--model-size": "sizes come from config.json",
    "--position-embedding-type": "it comes from config.json",
    "--loader-transformer-impl": "both backends share checkpoints",
    "--saver-transformer-impl": "both backends share checkpoints",
    "--max-queue-size": "loader and saver are one process",
    "--no-checking": "weights are always checked",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Parses Megatron-LM's flags and converts; returns the exit code."""
    arguments, rest = build_parser().parse_known_args(argv)
    return guarded("convert_checkpoint.py", lambda: _run(arguments, rest))


def build_parser() -> argparse.ArgumentParser:
    """The flags that are served."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-type", default="GPT", choices=["GPT"])
    parser.add_argument("--loader", required=True, choices=[*FROM_HF, *FROM_CORE])
    parser.add_argument("--saver", required=True, choices=sorted({*TO_HF, *TO_CORE}))
    parser.add_argument("--load-dir", required=True, help="a Hugging Face directory, or a checkpoint")
    parser.add_argument("--save-dir", required=True, help="what is made")
    parser.add_argument("--checkpoint-type", default="hf", choices=["hf"], help="of what the loader reads")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--bf16", action="store_true", help="write bf16; the weights' own type without either flag")
    kinds.add_argument("--fp16", action="store_true", help="write fp16")
    return parser


def _run(arguments: argparse.Namespace, rest: Sequence[str]) -> None:
    for flag in (text.split("=")[0] for text in rest if text.startswith("-")):
        raise UserError(f"{flag}: {NOT_SERVED.get(flag, 'unknown flag')}")
    if rest:
        raise UserError(f"{rest[0]}: unexpected argument")
    dtype = WeightsDtype.bf16 if arguments.bf16 else WeightsDtype.fp16 if arguments.fp16 else WeightsDtype.keep
    if arguments.loader in FROM_HF and arguments.saver in TO_CORE:
        _to_core(arguments, dtype)
    elif arguments.loader in FROM_CORE and arguments.saver in TO_HF:
        export_hf.run(ExportHFConfig(checkpoint=arguments.load_dir, output=arguments.save_dir, dtype=dtype))
    else:
        raise UserError("--saver: one of --loader and --saver is Hugging Face's, the other one is core")


def _to_core(arguments: argparse.Namespace, dtype: WeightsDtype) -> None:
    folder = Path(arguments.save_dir)
    import_hf.run(ImportHFConfig(hf=arguments.load_dir, output=str(folder / "release"), dtype=dtype))
    # Megatron-LM looks there for what to load; a release has no iteration to go on from.
    write_text(folder / "latest_checkpointed_iteration.txt", "release\n")


if __name__ == "__main__":
    sys.exit(main())
