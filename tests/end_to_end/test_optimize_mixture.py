"""`redone optimize-mixture` with real runs of a tiny model: done once, killed, divided into jobs, reused."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from megatron_redone.config.blend_file import read_blend
from megatron_redone.config.loader import load_config
from megatron_redone.config.optimize_mixture import OptimizeMixtureConfig
from megatron_redone.formats.done_check import read_sealed, write_sealed
from megatron_redone.mixture.proxy import Proxy
from megatron_redone.mixture.proxy_runs import ProxyRuns
from megatron_redone.mixture.search_data import open_search_data
from tests.helpers import commands
from tests.helpers.mixture_inputs import write_search

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def keys(folder: Path) -> list[str]:
    return write_search(folder)


@pytest.fixture(scope="module")
def found(folder: Path, keys: list[str]) -> Path:
    """A search that nothing interrupts."""
    done = commands.main("optimize-mixture", f"output_dir={folder}/whole", *keys)
    assert done.returncode == 0, done.stderr
    assert "| predicted winner |" in done.stdout
    return folder / "whole"


def result(output: Path) -> dict[str, Any]:
    return json.loads((output / "mixture.json").read_text())


def runs_of(output: Path) -> int:
    return len(list(output.glob("proxies/*/result.json")))


def test_the_blend_is_drawn_to_what_the_target_is_like(found: Path) -> None:
    content = result(found)
    assert content["mixture"]["c"] < 0.15 and content["mixture"]["a"] > content["mixture"]["b"] > 0.1
    assert sum(content["mixture"].values()) == pytest.approx(1)
    assert content["table"][0]["name"] == "predicted winner"
    assert content["regressions"][0]["rank_correlation"] >= 0.8
    blend = {source.label: source.weight for source in read_blend(str(found / "blend.yaml"))}
    assert blend == {name: weight for name, weight in content["mixture"].items() if weight > 0}
    assert len(content["runs"]) == 10 and sum(run["kept_out"] for run in content["runs"]) == 4


def test_pretraining_takes_the_blend(found: Path, folder: Path) -> None:
    run = ["device=cpu", f"model.hf_config={folder}/model", "model.precision=fp32", "data.seq_length=32"]
    run += ["training.global_batch_size=2", "training.train_steps=2", f"output_dir={folder}/run"]
    done = commands.redone("pretrain", *run, f"data.blend_file={found}/blend.yaml")
    assert done.returncode == 0, done.stderr
    recorded = (folder / "run" / "config.yaml").read_text()
    assert "blend_file: null" in recorded
    assert all(str(source.weight) in recorded for source in read_blend(str(found / "blend.yaml")))


def test_all_small_runs_begin_with_one_checkpoint_of_a_run_that_still_trains(folder: Path, keys: list[str]) -> None:
    live = ["device=cpu", f"model.hf_config={folder}/model", "model.precision=fp32", "data.seq_length=32"]
    live += ["training.global_batch_size=2", "training.train_steps=2", f"output_dir={folder}/live"]
    live += [f"data.blend=[{{path: {folder}/a}}]", "checkpoint.save_every=1", "checkpoint.keep_last=null"]
    done = commands.redone("pretrain", *live)
    assert done.returncode == 0, done.stderr
    first, second = sorted((folder / "live" / "checkpoints").glob("step-*"))
    second.rename(folder / "not_saved_yet")
    begins = [f"proxy.init_from={folder}/live", "proxy.model.hf_config=null"]
    config = load_config(OptimizeMixtureConfig, None, [f"output_dir={folder}/begun", *keys, *begins])
    runs = ProxyRuns(config, open_search_data(config))
    (folder / "not_saved_yet").rename(second)
    small = Proxy(name="one", weights={"a": 1.0}, seed=1)
    runs.train([small], "proxies")
    assert f"init_from: {first}\n" in (runs.folder(small) / "config.yaml").read_text()


def test_again_there_is_nothing_to_do_and_other_settings_are_refused(
    found: Path, folder: Path, keys: list[str]
) -> None:
    done = commands.main("optimize-mixture", f"output_dir={found}", *keys)
    assert done.returncode == 0 and not done.stdout
    done = commands.main("optimize-mixture", f"output_dir={found}", *keys, "kl_weight=1")
    assert done.returncode == 2 and "made from other input or settings" in done.stderr


def test_a_search_killed_twice_gives_the_same_blend(found: Path, folder: Path, keys: list[str]) -> None:
    output = folder / "killed"
    for count in (2, 9):
        process = subprocess.Popen(
            commands.command("optimize-mixture", f"output_dir={output}", *keys),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 240
        while runs_of(output) < count and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (output / "blend.yaml").exists() and runs_of(output) >= count
    done = commands.main("optimize-mixture", f"output_dir={output}", *keys)
    assert done.returncode == 0, done.stderr
    for name in ("blend.yaml", "mixture.md"):
        assert (output / name).read_bytes() == (found / name).read_bytes()


def test_jobs_share_the_runs_and_the_command_without_one_ends_the_search(
    found: Path, folder: Path, keys: list[str]
) -> None:
    output = folder / "jobs"
    for job, count in (("0", 7), ("1", 14)):
        done = commands.main("optimize-mixture", "--job", job, "jobs=2", f"output_dir={output}", *keys)
        assert done.returncode == 0 and runs_of(output) == count and not (output / "blend.yaml").exists()
    done = commands.main("optimize-mixture", f"output_dir={output}", *keys)
    assert done.returncode == 0, done.stderr
    assert (output / "blend.yaml").read_bytes() == (found / "blend.yaml").read_bytes()


def test_a_swapped_source_leaves_the_ratios_of_the_others(found: Path, folder: Path) -> None:
    keys = write_search(folder, "abd")
    done = commands.main("optimize-mixture", f"output_dir={folder}/reused", *keys, f"reuse={found}", "proxies=8")
    assert done.returncode == 0, done.stderr
    assert "reuse: the source 'c' is gone" in done.stderr and "reuse: the source 'd' is new" in done.stderr
    before, after = result(found), result(folder / "reused")
    assert after["parts"] == ["a + b", "d"] and after["mixture"]["d"] < 0.15
    ratio = before["mixture"]["a"] / before["mixture"]["b"]
    assert after["mixture"]["a"] / after["mixture"]["b"] == pytest.approx(ratio, rel=0.01)
    assert set(after["singles"]) == {"d", min("ab", key=lambda name: before["singles"][name])}


def test_a_target_whose_loss_is_noise_and_too_few_proxies_are_told(folder: Path, keys: list[str]) -> None:
    noise = f"target=[{{path: {folder}/noise}}]"
    few = ["proxies=9", "proxy.train_tokens=2048", "proxy.optimizer.lr=1e-4"]
    done = commands.main("optimize-mixture", f"output_dir={folder}/noise_out", *keys, noise, *few)
    assert done.returncode == 2 and "target: its loss is noise" in done.stderr.splitlines()[-1]
    assert not (folder / "noise_out" / "blend.yaml").exists()
    done = commands.main("optimize-mixture", f"output_dir={folder}/few", *keys, "proxies=8")
    assert done.returncode == 2 and "proxies: 8 less the 4 of kept_out leave 4 to fit 3 sources" in done.stderr


def test_a_run_that_diverges_is_told_and_left_out(found: Path, folder: Path, keys: list[str]) -> None:
    output = folder / "diverged"
    shutil.copytree(found / "proxies", output / "proxies")
    chosen = next(run for run in result(found)["runs"] if not run["kept_out"] and run["name"] == "design 5")
    for file in output.glob("proxies/*/result.json"):
        content = read_sealed(file)[0]
        assert content is not None
        if content["losses"] == chosen["losses"]:
            write_sealed(file, {"losses": {}, "seconds": 1.0, "diverged": "no finite gradients"})
    done = commands.main("optimize-mixture", f"output_dir={output}", *keys)
    assert done.returncode == 0, done.stderr
    assert "left out, for they diverged: design 5" in done.stdout
