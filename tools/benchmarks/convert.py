"""Import and export of a 7 B checkpoint: memory, and time against `cp` of the same bytes in the same run.

    python tools/benchmarks/convert.py --folder /a/disk/with/48/GB

Writes a model of Qwen2.5-7B's shapes (15 GB of bf16, random numbers) to a temporary folder, and removes
it at the end. Every command is a process of its own; before each, its input is dropped from the page cache.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# Behind the standard library: a script in this folder hides the module `tokenize` that torch needs.
HERE = str(Path(__file__).parent)
sys.path[:] = [str(Path(HERE).parents[1]), *(path for path in sys.path if path != HERE), HERE]

import torch
from recording import Measured, measure, record

from megatron_redone.architectures import parse_architecture, read_architecture
from megatron_redone.architectures.weights import family_tensors
from megatron_redone.conversion.hf_writer import PlannedTensor, ShardWriter, assign_to_files, write_index
from megatron_redone.conversion.row_blocks import row_blocks
from megatron_redone.model_folders.hf_reader import HFWeights

CONFIG = {
    **{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "torch_dtype": "bfloat16", "hidden_act": "silu"},
    **{"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28},
    **{"num_key_value_heads": 4, "vocab_size": 152064, "max_position_embeddings": 131072, "rms_norm_eps": 1e-6},
    **{"rope_theta": 1e6, "tie_word_embeddings": False, "bos_token_id": 151643, "eos_token_id": 151643},
}
BLOCK = 2**24  # numbers


def main() -> None:
    """Measures, prints, and writes the result file."""
    options = parse_options()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="convert_benchmark_") as name:
        folder = Path(name)
        layers = options.layers or CONFIG["num_hidden_layers"]
        size = write_model(folder / "hf", {**CONFIG, "num_hidden_layers": layers})
        rounds = [one_round(folder, check=number == 0) for number in range(options.rounds)]
    metrics = {"gigabytes": size / 1e9}
    for key in rounds[0]:
        values = [round_[key] for round_ in rounds]
        metrics[key] = max(values) if key.endswith("rss_mb") else statistics.median(values)
        metrics[f"{key}_least"], metrics[f"{key}_greatest"] = min(values), max(values)
    notes = (
        f"Qwen2.5-7B's shapes with {layers} layers, bf16; {options.rounds} rounds of cp, cp and sync, import-hf "
        "and export-hf, each from a cold page cache; times are the medians of the rounds' ratios, memory is the "
        "largest. Both commands flush to the disk before they end, which plain cp does not. The export of the first "
        f"round was bit-equal to the source, tensor by tensor. {options.notes}"
    )
    record("convert", metrics, ("megatron_redone", "megatron-core", "torch", "safetensors"), notes.strip())


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", required=True, help="where the temporary folder is made")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, help="fewer than the 28 of the model, for a trial")
    parser.add_argument("--notes", default="", help="added to the result, for example that the machine was busy")
    return parser.parse_args()


def write_model(folder: Path, config: dict[str, object]) -> int:
    """Writes a Hugging Face directory and returns the bytes of its weights."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    tensors = family_tensors(parse_architecture(dict(config)))
    planned = [PlannedTensor(tensor.name, tensor.shape, torch.bfloat16) for tensor in tensors]
    shards = assign_to_files(planned, 5 * 10**9)
    for file, shard in shards.items():
        ShardWriter(folder / file, shard).write(random_blocks(shard))
    write_index(folder, shards)
    os.sync()
    return sum(tensor.size for tensor in planned)


def random_blocks(shard: list[PlannedTensor]) -> Iterator[torch.Tensor]:
    """Random numbers, cheaply: one drawn block, begun at another place each time."""
    numbers = torch.empty(2 * BLOCK, dtype=torch.bfloat16).normal_(0, 0.02, generator=torch.Generator().manual_seed(0))
    for tensor in shard:
        left, place = tensor.size // 2, sum(tensor.name.encode()) * 7919 % BLOCK
        while left:
            count = min(left, BLOCK)
            yield numbers[place : place + count]
            left, place = left - count, (place * 7919 + 1) % BLOCK


def one_round(folder: Path, check: bool) -> dict[str, float]:
    """Copy, import and export, and what was written removed."""
    hf, copy, checkpoint, export = (folder / name for name in ("hf", "copy", "checkpoint", "export"))
    command = [sys.executable, "-m", "megatron_redone"]
    plain = timed(["cp", "-r", str(hf), str(copy)], hf)
    shutil.rmtree(copy)
    flushed = timed(["sh", "-c", f"cp -r '{hf}' '{copy}' && sync -f '{copy}'"], hf)
    shutil.rmtree(copy)
    imported = timed([*command, "import-hf", f"hf={hf}", f"output={checkpoint}"], hf)
    exported = timed([*command, "export-hf", f"checkpoint={checkpoint}", f"output={export}"], checkpoint)
    shutil.rmtree(checkpoint)
    if check:
        compare(hf, export)
    shutil.rmtree(export)
    return {
        "import_rss_mb": imported.peak_rss_mb,
        "export_rss_mb": exported.peak_rss_mb,
        "import_time_vs_cp": imported.seconds / plain.seconds,
        "export_time_vs_cp": exported.seconds / plain.seconds,
        "import_time_vs_flushed_cp": imported.seconds / flushed.seconds,
        "export_time_vs_flushed_cp": exported.seconds / flushed.seconds,
        "import_seconds": imported.seconds,
        "export_seconds": exported.seconds,
        "cp_seconds": plain.seconds,
        "cp_flushed_seconds": flushed.seconds,
    }


def timed(command: list[str], source: Path) -> Measured:
    """Runs a command whose input lies on the disk and not in memory, while nothing is waiting to be written."""
    os.sync()
    for file in source.rglob("*"):
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    time.sleep(1)
    result = measure(command)
    print(f"{command[-3:]}: {result}", file=sys.stderr, flush=True)
    return result


def compare(one: Path, other: Path) -> None:
    """Fails unless both directories hold the same tensors, bit by bit."""
    shape = read_architecture(one)
    ours, theirs = HFWeights(other, shape), HFWeights(one, shape)
    tensors = family_tensors(shape)
    assert ours.names() == theirs.names() == {tensor.name for tensor in tensors}
    for tensor in tensors:
        # In blocks: what this process once held would count as the peak of the commands that it starts.
        for first, last in row_blocks(0, tensor.shape[0], tensor.shape[1:]):
            left, right = (weights.read(tensor.name, first, last).view(torch.int16) for weights in (ours, theirs))
            assert torch.equal(left, right), tensor.name


if __name__ == "__main__":
    main()
