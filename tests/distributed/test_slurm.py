"""A real Slurm of two machines: a training job that is stopped and queues again, and curation as arrays of jobs.

`bash tests/slurm.sh` installs what they need.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.curation_runs import curate_command, fingerprints, kill_slurm_task, write_corpus
from tests.helpers.pretrain_runs import figures, write_inputs
from tests.helpers.slurm import Cluster, cluster

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
# The interpreter of this test, also within jobs; without a GPU a machine has the processes that PROCESSES says.
VARIABLES = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PROCESSES": "1", "PYTHONPATH": str(ROOT)}
STEPS = 60


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


def submit(slurm: Cluster, folder: Path) -> str:
    """The line that slurm.sh tells people to write; gives the job's number."""
    keys = [*write_inputs(folder), f"output_dir={folder}/run", f"training.train_steps={STEPS}"]
    keys += ["checkpoint.save_every=20", "checkpoint.async_save=true", "data.validation=[]"]
    script = str(ROOT / "examples" / "launch" / "slurm.sh")
    words = ["--parsable", f"--chdir={ROOT}", "--nodes=2", f"--output={folder}/job.log", script, "pretrain", *keys]
    return slurm.run("sbatch", *words, **VARIABLES, LAUNCH_DIR=str(ROOT / "examples" / "launch"))


def wait_for_step(slurm: Cluster, folder: Path, step: int) -> None:
    deadline = time.monotonic() + 180
    while not ((folder / "run" / "metrics.jsonl").exists() and max(figures(folder / "run"), default=0) >= step):
        assert time.monotonic() < deadline, said(folder) + slurm.logs()
        time.sleep(0.05)


def said(folder: Path) -> str:
    log = folder / "job.log"
    return log.read_text()[-6000:] if log.exists() else "the job has not begun\n"


def weights(folder: Path) -> dict[str, str]:
    newest = folder / "run" / "checkpoints" / f"step-{STEPS:08d}"
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in newest.glob("*.distcp")}


def test_a_job_that_is_stopped_queues_again_and_ends_as_an_undisturbed_one(slurm: Cluster, tmp_path: Path) -> None:
    """First by its time limit, as `--signal` tells of it; then by a pre-emption."""
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    assert slurm.wait_for_end(submit(slurm, undisturbed))["JobState"] == "COMPLETED", said(undisturbed) + slurm.logs()
    job = submit(slurm, stopped)
    wait_for_step(slurm, stopped, 5)
    slurm.run("scancel", "--batch", "--signal=USR1", job)
    wait_for_step(slurm, stopped, 25)
    slurm.run("scontrol", "requeue", job)
    state = slurm.wait_for_end(job)
    assert state["JobState"] == "COMPLETED" and state["Restarts"] == "2", said(stopped) + slurm.logs()
    log = (stopped / "job.log").read_text()
    assert log.count("going on from") >= 2 and "came to its time limit, queues again" in log, log
    assert list(figures(stopped / "run")) == list(range(1, STEPS + 1))
    for name in ("loss", "grad_norm"):
        assert figures(stopped / "run", name) == figures(undisturbed / "run", name)
    assert weights(stopped) == weights(undisturbed) != {}


def test_curation_as_arrays_of_jobs_gives_the_same_as_here(slurm: Cluster, tmp_path: Path) -> None:
    """A task of it is killed: the same command takes back what waits for it, and submits what is left."""
    posts, here, there = tmp_path / "posts.jsonl", tmp_path / "here", tmp_path / "there"
    write_corpus(posts, 3000)
    subprocess.run(curate_command(posts, here, "workers=1"), check=True, env={**os.environ, **VARIABLES}, timeout=120)
    keys = ["executor=slurm", "slurm.partition=main", "slurm.memory_gb=1"]
    command = curate_command(posts, there, *keys)
    slurm.run(*command, **VARIABLES)
    first = submitted(there)
    kill_slurm_task(there / "work")
    slurm.wait_for_broken_chain()
    slurm.run(*command, **VARIABLES)
    again = submitted(there)
    assert not set(first) & set(again)
    state = slurm.wait_for_end(again[-1])
    assert state["JobState"] == "COMPLETED", slurm_logs(there) + slurm.logs()
    slurm.run(*command, **VARIABLES)  # takes away what the jobs have left
    assert not (there / "work").exists()
    assert len(fingerprints(here)) >= 5 and fingerprints(here) == fingerprints(there)


def submitted(output: Path) -> list[str]:
    return json.loads((output / "work" / "submitted.json").read_text())["jobs"]


def slurm_logs(output: Path) -> str:
    return "\n".join(f"{path}:\n{path.read_text()[-2000:]}" for path in output.rglob("slurm_logs/*"))
