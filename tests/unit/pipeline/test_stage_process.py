"""The command of a stage, and what its log says of an error."""

from pathlib import Path

from megatron_redone.config.pipeline import PipelineEntry
from megatron_redone.pipeline.stage_process import last_error, own_error, stage_command

LOG = """\
step 1/8  loss 6.0
[rank0]: Traceback (most recent call last):
[rank0]:   File "x.py", line 3, in <module>
[rank0]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20 GiB
E1122 01:45:00.816000 6483 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 1) local_rank: 0
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
""".splitlines()


def test_what_went_wrong_is_found_in_a_log() -> None:
    assert own_error(LOG) is None
    assert last_error(LOG) == "[rank0]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20 GiB"
    assert own_error([*LOG, "redone: data.blend: no such file", "and more"]) == "data.blend: no such file"
    assert own_error(["redone score-reference: init_from: x is no run"]) == "init_from: x is no run"
    assert last_error(["slurmstepd: killed"]) == "slurmstepd: killed" and last_error([]) is None


def test_the_command_of_a_stage() -> None:
    folder = Path("/recipe")

    def command(**keys: object) -> list[str]:
        entry = PipelineEntry(name="x", stage="sft", **keys)  # type: ignore[arg-type]
        return stage_command(entry, folder / "sft.yaml", ["a.b=c d"], folder)

    tail = ["sft", "--config", "/recipe/sft.yaml", "a.b=c d"]
    assert command()[1:] == ["-m", "megatron_redone", *tail]
    assert command(processes=2)[1:] == [
        *["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "megatron_redone"],
        *tail,
    ]
    launcher = "bash {config_dir}/../launch/nodes.sh 'two words'"
    assert command(launcher=launcher) == ["bash", "/recipe/../launch/nodes.sh", "two words", *tail]
