"""What checkpoints cost: a save beside the gathered one of before and beside cp, loads, memory, and saves in training.

    python tools/benchmarks/checkpoints.py [--part saves|gathered|needs|loads|async]

Four ranks; a model of 503 million parameters in bf16 on tensor 2 x data 2, whose checkpoint has 7 GB. The part `async`
trains a small one. The gathered saving is that of the code of before, taken from the repository's history. Every part
leaves the figures of the others in the result as they are. To count what goes between ranks, they get a network
namespace of their own, which takes root.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Behind the standard library: a script in this folder hides the module `tokenize` that torch needs.
HERE = str(Path(__file__).parent)
sys.path[:] = [*(path for path in sys.path if path != HERE), HERE]

from recording import record_part

RANKS = 4
REPOSITORY = Path(__file__).parents[2]
GATHERED = "c99aa5e"
"""The commit before the one that writes rectangles."""
_LOOPBACK = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


def main() -> None:
    """Measures the parts that are asked for, and records each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--part", choices=list(PARTS), help="that one alone; the others stay as they are")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=1024, help="of a rank's step in the part async")
    parser.add_argument("--folder", type=Path, help="on the disk to be measured; a temporary folder by default")
    parser.add_argument("--notes", default="", help="added, for example that the machine was busy")
    options = parser.parse_args()
    for part in [options.part] if options.part else PARTS:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            metrics, notes = PARTS[part](options, Path(folder))
        load = f"load of the machine {os.getloadavg()[1]:.1f}"
        record_part(
            "checkpoints", part, metrics, ("megatron-core", "torch"), f"{notes}; {load}. {options.notes}".strip()
        )


def saves(options: argparse.Namespace, folder: Path) -> tuple[dict[str, float], str]:
    """Seconds of a save beside those of cp, until all of it is on the disk."""
    seconds: dict[str, list[float]] = {"save": [], "cp": []}
    size = 0
    for _ in range(options.repeats):
        place = folder / "checkpoints"
        seconds["save"] += launch("saves", place, 1)["seconds"]
        seconds["cp"].append(copy_seconds(next(place.glob("step-*")), folder / "copy"))
        size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
        remove(place)
        remove(folder / "copy")
        print(seconds, file=sys.stderr)
    metrics = {
        **{f"{name}_seconds": statistics.median(found) for name, found in seconds.items()},
        **with_spread("save_vs_cp", seconds["save"], seconds["cp"]),
        "checkpoint_mb": size / 2**20,
    }
    return metrics, f"{options.repeats} turns of each side, until all is on the disk; ratios are medians over turns"


def gathered(options: argparse.Namespace, folder: Path) -> tuple[dict[str, float], str]:
    """Seconds of a save beside those of the gathered one, of 235 million parameters."""
    before = folder / "before"
    before.mkdir()
    archive = subprocess.run(["git", "-C", REPOSITORY, "archive", GATHERED, "megatron_redone"], stdout=-1, check=True)
    subprocess.run(["tar", "-x", "-C", before], input=archive.stdout, check=True)
    seconds: dict[str, list[float]] = {"save": [], "gathered": []}
    for number in range(options.repeats):
        for side in ("save", "gathered") if number % 2 else ("gathered", "save"):
            place, code = folder / "checkpoints", before if side == "gathered" else REPOSITORY
            seconds[side] += launch("saves", place, 1, "--layers", "8", code=code)["seconds"]
            remove(place)
        print(seconds, file=sys.stderr)
    metrics = {
        "save_235m_seconds": statistics.median(seconds["save"]),
        "gathered_235m_seconds": statistics.median(seconds["gathered"]),
        **with_spread("save_vs_gathered", seconds["save"], seconds["gathered"]),
    }
    return metrics, (
        f"{options.repeats} turns of each side, the other one the code of {GATHERED}; 235 million parameters, as the "
        "gathered save of 503 million takes more than the 24 GiB of this machine; ratios are ours over theirs"
    )


def with_spread(name: str, ours: list[float], theirs: list[float], less: float = 0.0) -> dict[str, float]:
    """Ratios over turns: the median, the least and the most; less something."""
    found = sorted(one / other - less for one, other in zip(ours, theirs, strict=True))
    return {name: statistics.median(found), f"{name}_least": found[0], f"{name}_most": found[-1]}


def copy_seconds(checkpoint: Path, target: Path) -> float:
    """Seconds of `cp` of the files with tensors by four processes, each of which flushes its file."""
    target.mkdir()
    start = time.perf_counter()
    copies = [
        subprocess.Popen(["sh", "-c", 'cp "$1" "$2" && sync "$2"', "sh", file, target / file.name])
        for file in sorted(checkpoint.glob("*.distcp"))
    ]
    assert len(copies) == RANKS and not any(copy.wait() for copy in copies)
    return time.perf_counter() - start


def needs(options: argparse.Namespace, folder: Path) -> tuple[dict[str, float], str]:
    """Bytes between ranks and memory."""
    found = launch("needs", folder, 1, alone=True)
    ranks = found["ranks"]
    metrics = {
        "save_bytes_between_ranks": found["bytes"],
        "save_peak_over_share_mb": max(rank["saving_mb"] for rank in ranks),
        "load_peak_over_share_mb": max(rank["loading_mb"] for rank in ranks),
        "async_peak_over_share": max(rank["beside_mb"] / rank["share_mb"] for rank in ranks),
        "share_mb": max(rank["share_mb"] for rank in ranks),
    }
    return metrics, (
        "bytes over the loopback of a network namespace of the ranks' own, headers included; memory is how far the "
        "resident set rises over the state, the largest of the ranks; for async_peak_over_share in shares"
    )


def loads(options: argparse.Namespace, folder: Path) -> tuple[dict[str, float], str]:
    """Seconds of a load, and what checks cost."""
    launch("saves", folder, 1)
    found = launch("loads", folder, options.repeats)
    metrics = {
        "load_seconds": statistics.median(found["disk_checked"]),
        "load_seconds_cached": statistics.median(found["cache_checked"]),
        **with_spread("check_cost", found["disk_checked"], found["disk_plain"], less=1),
        **with_spread("check_cost_cached", found["cache_checked"], found["cache_plain"], less=1),
    }
    return metrics, f"{options.repeats} loads with checks and without, in turn, from the disk; cached: from memory"


def beside(options: argparse.Namespace, folder: Path) -> tuple[dict[str, float], str]:
    """What saving every 20 steps costs of the time of training."""
    found = launch("steps", folder, options.repeats, "--tokens", str(options.tokens))
    metrics = {
        **with_spread("async_overhead", found["saving"], found["plain"], less=1),
        **with_spread("async_overhead_cpu", found["saving_cpu"], found["plain_cpu"], less=1),
        "async_step_seconds": statistics.median(found["plain"]) / 20,
    }
    return metrics, (
        f"14 million parameters in fp32, {options.tokens} tokens a rank and step; {options.repeats} rounds of 20 steps "
        "with a save in them and without, in turn in one run; cpu is what the kernel charged all ranks and threads for"
    )


def launch(job: str, folder: Path, repeats: int, *more: str, code: Path = REPOSITORY, alone: bool = False) -> Any:
    """What the ranks found; their code may be another."""
    with tempfile.TemporaryDirectory() as scratch, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = ["--master-addr", "127.0.0.1", "--master-port", str(probe.getsockname()[1])]
        probe.close()
        answer = Path(scratch) / "answer.json"
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(RANKS), *address]
        words = ["--job", job, "--folder", folder, "--answer", answer, "--repeats", str(repeats), *more]
        path = os.pathsep.join(map(str, (code, REPOSITORY)))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "GLOO_SOCKET_IFNAME": "lo"}
        command = [
            *(_LOOPBACK if alone else ()),
            sys.executable,
            *launcher,
            "--module",
            "tools.benchmarks.checkpoint_ranks",
            *words,
        ]
        done = subprocess.run(command, env=environment, cwd=scratch, stdout=sys.stderr, check=False)
        if done.returncode:
            raise SystemExit(f"{job} failed with status {done.returncode}")
        return json.loads(answer.read_text())


def remove(folder: Path) -> None:
    """Removes a folder, and waits until the disk has."""
    subprocess.run(["rm", "-rf", folder], check=True)
    os.sync()


PARTS = {"saves": saves, "gathered": gathered, "needs": needs, "loads": loads, "async": beside}

if __name__ == "__main__":
    main()
