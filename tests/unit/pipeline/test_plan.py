"""What a pipeline knows of files, of logs and of time, piece by piece."""

from pathlib import Path

import pytest

from megatron_redone.config.loader import load_config
from megatron_redone.config.pipeline import PipelineEntry
from megatron_redone.config.schema import FileRead, files_read, files_written
from megatron_redone.config.stage_table import STAGES
from megatron_redone.pipeline.markers import Marker
from megatron_redone.pipeline.plan import PlannedStage
from megatron_redone.pipeline.stage_files import fingerprint, is_elsewhere, is_there, touch
from megatron_redone.pipeline.stage_process import last_error, own_error, stage_command
from megatron_redone.pipeline.view import Forecast, progress_of


def test_what_a_configuration_reads_and_writes() -> None:
    keys = ["init_from=runs/sft", "data=[{path: pairs/a}, {path: pairs/b}]"]
    scoring = load_config(STAGES["score-reference"].config_class(), None, keys)
    assert files_read(scoring) == [FileRead("runs/sft", True), FileRead("pairs/a"), FileRead("pairs/b")]
    assert files_written(scoring) == ["pairs/a.reference", "pairs/b.reference"]
    elsewhere = load_config(STAGES["score-reference"].config_class(), None, [*keys, "output_dir=scores"])
    assert files_written(elsewhere) == ["scores"]


@pytest.mark.parametrize(
    ("read", "written", "expected"),
    [
        ("runs/cpt", "runs/cpt", True),
        ("./runs/cpt/", "runs/cpt", True),
        ("runs/cpt/checkpoints/step-00000010", "runs/cpt", True),
        ("/work/runs/cpt", "runs/cpt", True),
        ("tokens/social", "tokens/social", True),
        ("tokens", "tokens/social", True),
        ("pairs/a", "pairs/a.reference", True),
        ("curated/*.jsonl", "curated", True),
        ("curated/held_out/*/x.jsonl", "curated", True),
        ("runs/cpt", "runs/cpt2", False),
        ("tokens/social_held_out", "tokens/social", False),
        ("s3://bucket/curated/x.jsonl", "curated", False),
    ],
)
def test_what_is_read_meets_what_is_written(read: str, written: str, expected: bool) -> None:
    assert touch(Path("/work"), read, written) is expected


def test_fingerprints_follow_files_and_not_what_the_pipeline_writes(tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    for ending in ("bin", "idx"):
        (tmp_path / f"pairs/a.{ending}").write_text("x")
    written = ["pairs/a.reference"]
    before = fingerprint(tmp_path, "pairs/a", written)
    (tmp_path / "pairs/a.reference.npy").write_text("ours")
    assert is_there(tmp_path, "pairs/a") and fingerprint(tmp_path, "pairs/a", written) == before
    assert fingerprint(tmp_path, "pairs/a", []) != before
    (tmp_path / "pairs/a.bin").write_text("xx")
    assert fingerprint(tmp_path, "pairs/a", written) != before
    assert not is_there(tmp_path, "pairs/b")


def test_names_on_the_hub_and_urls_are_none_of_our_files(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert is_elsewhere(tmp_path, FileRead("Qwen/Qwen2.5-7B", or_hub=True))
    assert is_elsewhere(tmp_path, FileRead("s3://bucket/x.jsonl"))
    assert not is_elsewhere(tmp_path, FileRead("runs/cpt", or_hub=True))
    assert not is_elsewhere(tmp_path, FileRead("data/posts"))


@pytest.mark.parametrize(
    ("line", "share"),
    [
        ("step  12/40  loss  2.1034  3:20 left", 0.3),
        (" 25 %  10 of 40 MB, 3.0 MB/s, 2.0 M tokens", 0.25),
        ("pairs: 1,200 of 4,800 pairs, 3.1 pairs/s", 0.25),
        ("data: social  66.7 %, 0.013 epochs over the run", None),
        ("saved runs/cpt/checkpoints/step-00000040", None),
    ],
)
def test_a_line_of_a_log_tells_how_far_a_stage_is(line: str, share: float | None) -> None:
    assert progress_of(line) == share


def planned(name: str, minutes: float | None, before: float | None = None) -> PlannedStage:
    return PlannedStage(
        number=1,
        entry=PipelineEntry(name=name, stage="tokenize", minutes=minutes),
        file=None,
        marker=Marker(work="new"),
        before=None if before is None else Marker(work="old", seconds=before),
        chosen=True,
        reasons=["not run yet"],
        missing=[],
    )


def test_the_time_left_goes_by_what_stages_took_before_and_how_fast_this_machine_is() -> None:
    forecast = Forecast([planned("a", minutes=1), planned("b", minutes=2), planned("c", minutes=9, before=60)])
    assert forecast.left(elapsed=0, share=None) == 60 + 120 + 60
    assert forecast.left(elapsed=15, share=0.25) == 45 + 120 + 60
    forecast.finished(120)  # twice as long as expected
    assert forecast.left(elapsed=0, share=0.01) == 2 * (120 + 60)
    assert Forecast([planned("a", minutes=None)]).left(elapsed=10, share=None) is None
    assert Forecast([planned("a", minutes=None)]).left(elapsed=10, share=0.5) == 10


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
