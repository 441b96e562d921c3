"""Logits of SmolLM2-135M-Instruct against transformers on real text, in fp32.

    python tools/benchmarks/logits.py --model /a/hugging/face/directory --text /a/text/file

Beside the differences it measures how far apart transformers' own attention implementations are on the
same text, and how far either side is from float64: what of a difference is rounding.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

# Behind the standard library: a script in this folder hides the module `tokenize` that torch needs.
HERE = str(Path(__file__).parent)
sys.path[:] = [str(Path(HERE).parents[1]), *(path for path in sys.path if path != HERE), HERE]

from recording import record

FOUND = re.compile(r"largest difference (\S+) over ([\d,]+) tokens\nperplexity: (\S+) with transformers, (\S+) here")


def main() -> None:
    """Measures, prints, and writes the result file."""
    options = parse_options()
    one, *others = [verify(options, pipeline) for pipeline in (1, 2, 3)]
    metrics = {
        "smollm2_max_diff": one["difference"],
        "smollm2_max_diff_pp": max(other["difference"] for other in others),
        "smollm2_perplexity_transformers": one["theirs"],
        "smollm2_perplexity": one["ours"],
    }
    exact = {"smollm2_max_diff": one["difference"], "smollm2_max_diff_pp": metrics["smollm2_max_diff_pp"]}
    # Results are kept to four decimals.
    metrics |= {f"{name}_millionths": value * 1e6 for name, value in {**exact, **rounding(options)}.items()}
    notes = (
        f"fp32, {options.rows} rows of {options.length} tokens of {Path(options.text).name}; pp is the larger one of "
        f"pipelines of 2 and 3 stages. {options.notes}"
    )
    record("logits", metrics, ("megatron_redone", "megatron-core", "torch", "transformers"), notes.strip())


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--length", type=int, default=256, help="tokens of a row")
    parser.add_argument("--notes", default="", help="added to the result")
    return parser.parse_args()


def verify(options: argparse.Namespace, pipeline: int) -> dict[str, float]:
    """`redone verify` on a pipeline of so many stages."""
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(pipeline)] if pipeline > 1 else []
    )
    command = [sys.executable, *launcher, "-m", "megatron_redone", "verify", "device=cpu", f"hf={options.model}"]
    command += [f"text={options.text}", f"rows={options.rows}", f"seq_length={options.length}"]
    command += [f"parallel.pipeline_model_parallel_size={pipeline}"]
    said = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True).stderr
    match = FOUND.search(said)
    assert match is not None, said
    return {"difference": float(match[1]), "theirs": float(match[3]), "ours": float(match[4])}


def rounding(options: argparse.Namespace) -> dict[str, float]:
    """Differences that transformers has from itself, on the first row."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    text = Path(options.text).read_text(encoding="utf-8")[: 64 * options.length]
    ids = AutoTokenizer.from_pretrained(options.model)(text, return_tensors="pt").input_ids[:, : options.length]

    def logits(attention: str, dtype: torch.dtype) -> Any:
        model = AutoModelForCausalLM.from_pretrained(options.model, dtype=dtype, attn_implementation=attention)
        with torch.no_grad():
            return model(ids).logits.double()

    sdpa, eager = logits("sdpa", torch.float32), logits("eager", torch.float32)
    exact = logits("sdpa", torch.float64)
    return {
        "transformers_sdpa_vs_eager": float((sdpa - eager).abs().max()),
        "transformers_sdpa_vs_float64": float((sdpa - exact).abs().max()),
    }


if __name__ == "__main__":
    main()
