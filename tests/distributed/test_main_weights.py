"""Main weights and rounded copies are the same, bit for bit, on every layout. The oracle is one process."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from megatron.core.distributed import DistributedDataParallel

from megatron_redone.checkpoint.checksums import read_checksums, write_checksums
from megatron_redone.config.model import Precision
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.conversion.mcore_reader import read_main_weights
from megatron_redone.models.build import Model
from megatron_redone.models.shards import Shard
from megatron_redone.models.wrapping import wrap_data_parallel
from megatron_redone.objectives.language_modelling import LanguageModelling
from megatron_redone.training.dithering import dither_main_weights
from megatron_redone.training.main_weights import main_weights, optimizer_parts
from megatron_redone.training.model_state import full_state, load_full
from megatron_redone.training.optimizer import build_optimizer, set_learning_rate
from megatron_redone.training.stochastic_copies import round_copies_stochastically
from megatron_redone.training.train_step import train_step
from tests.helpers import hf_folders
from tests.helpers.pretrain_runs import command_line, figures, pretrain, write_inputs
from tests.helpers.ranks import run_on_ranks
from tests.helpers.runs import Run, micro_batches, random_rows, start
from tests.helpers.sharded_saves import save_sharded

LAYOUTS: dict[str, tuple[int, dict[str, Any]]] = {
    "tp2": (2, {"tensor_model_parallel_size": 2}),
    "pp2": (2, {"pipeline_model_parallel_size": 2}),
    "pp2_vpp2": (2, {"pipeline_model_parallel_size": 2, "virtual_pipeline_model_parallel_size": 2}),
    "pp2_uneven": (2, {"pipeline_model_parallel_size": 2, "num_layers_in_last_pipeline_stage": 1}),
    "cp2": (2, {"context_parallel_size": 2}),
    "dp2": (2, {}),
    "dp2_plain": (2, {"use_distributed_optimizer": False}),
    "tp2_plain": (2, {"tensor_model_parallel_size": 2, "use_distributed_optimizer": False}),
    "dp4": (4, {}),
    "tp2_dp2_sp": (4, {"tensor_model_parallel_size": 2, "sequence_parallel": True}),
    "tp2_pp2": (4, {"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 2}),
    "pp2_dp2": (4, {"pipeline_model_parallel_size": 2}),
    "tp4": (4, {"tensor_model_parallel_size": 4}),
}
MODELS = {  # a width that no draw of four columns divides, and a vocabulary that every layout pads differently
    "tied": Run(model="qwen2_tied", changes={"hidden_size": 56, "num_key_value_heads": 4}),
    "untied": Run(model="qwen3", changes={"tie_word_embeddings": False, "num_key_value_heads": 4}),
}

pytestmark = pytest.mark.distributed


@dataclass(frozen=True)
class Held:
    """What a rank's optimizer holds of one weight; what of the full one that is, `take` says."""

    shard: Shard
    first: int
    main: torch.Tensor
    copy: torch.Tensor
    rounded: torch.Tensor

    def part_of(self, full: torch.Tensor) -> torch.Tensor:
        """The same elements of a full weight, with zeros where padding is."""
        local = self.shard.take(full).flatten()
        padded = torch.cat([local, local.new_zeros(self.shard.parameter.numel() - len(local))])
        return padded[self.first : self.first + len(self.main)]


def held(run: Run, parallel: dict[str, Any]) -> list[Held]:
    """What this rank holds after dithering, and its copies after a step of nothing but rounding."""
    model, optimizer, _ = _start(run, parallel)
    dither_main_weights(model, optimizer, seed=7)
    weights = [weight for part in optimizer_parts(optimizer) for weight in main_weights(part, model)]
    assert all(torch.equal(weight.main.bfloat16(), weight.copy) for weight in weights)
    assert {weight.copy.data_ptr() for weight in weights} == _memory(weights)
    before = [weight.copy.clone() for weight in weights]
    round_copies_stochastically(model, optimizer, seed=7)
    for part in optimizer_parts(optimizer):
        part.optimizer.param_groups[0]["step"] = 3
        part._copy_main_params_to_model_params()
    return [Held(w.shard, w.first, w.main, copy, w.copy) for w, copy in zip(weights, before, strict=True)]


def _start(run: Run, parallel: dict[str, Any]) -> tuple[Model, Any, list[DistributedDataParallel]]:
    changed = Run(model=run.model, parallel=parallel, compute={"precision": Precision.bf16}, changes=run.changes)
    model = start(changed)
    wrapped = wrap_data_parallel(model)
    return model, build_optimizer(wrapped, OptimizerConfig()), wrapped


def _memory(weights: list[Any]) -> set[int]:
    """Where the model's weights lie from the first element that the optimizer holds."""
    return {weight.shard.parameter.view(-1)[weight.first :].data_ptr() for weight in weights}


@pytest.fixture(scope="module", params=MODELS)
def run_and_whole(request: pytest.FixtureRequest) -> tuple[Run, dict[str, Held]]:
    run = MODELS[request.param]
    [alone] = run_on_ranks(1, held, run, {})
    return run, {one.shard.name: one for one in alone}


def _full(one: Held, flat: torch.Tensor) -> torch.Tensor:
    """A whole weight in its own shape, without padding."""
    return flat.view(-1, *one.shard.full_shape[1:])[: one.shard.full_shape[0]]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_main_weights_are_those_of_one_process(run_and_whole: tuple[Run, dict[str, Held]], layout: str) -> None:
    run, whole = run_and_whole
    world_size, parallel = LAYOUTS[layout]
    seen = dict.fromkeys(whole, 0)
    for rank in run_on_ranks(world_size, held, run, parallel):
        for mine in rank:
            one = whole[mine.shard.name]
            for kind in ("main", "copy", "rounded"):
                expected = mine.part_of(_full(one, getattr(one, kind)))
                assert torch.equal(getattr(mine, kind), expected), (mine.shard.name, kind)
            seen[mine.shard.name] += len(mine.main)
    assert all(seen[name] >= _full(one, one.main).numel() for name, one in whole.items())


def test_nearly_all_is_moved_and_some_of_it_rounded_away(run_and_whole: tuple[Run, dict[str, Held]]) -> None:
    _, whole = run_and_whole
    for name, one in whole.items():
        moved = (one.main != one.copy.float()) == (one.copy != 0)
        assert moved.all(), name
        changed = (one.rounded != one.copy)[one.copy != 0].double().mean()
        assert abs(changed - 0.25) < 2 / one.main.numel() ** 0.5, name


def save(run: Run, parallel: dict[str, Any], folder: Path) -> None:
    """A checkpoint of dithered weights on a layout, after a step that changes the rest of the optimizer's state."""
    model, optimizer, wrapped = _start(run, parallel)
    dither_main_weights(model, optimizer, seed=7)
    set_learning_rate(optimizer, 0.0)
    batch = random_rows(4, 16, 500, seed=0)
    train_step(wrapped, optimizer, LanguageModelling(model.row_placer), micro_batches(batch, model.context, rows=1))
    save_sharded(full_state(model.chunks, optimizer), folder)


def load(run: Run, parallel: dict[str, Any], folder: Path) -> list[Held]:
    """What a rank of another layout holds of it."""
    model, optimizer, _ = _start(run, parallel)
    load_full(model.chunks, optimizer, folder)
    weights = [weight for part in optimizer_parts(optimizer) for weight in main_weights(part, model)]
    return [Held(w.shard, w.first, w.main, w.copy, w.copy) for w in weights]


@pytest.mark.parametrize(("saved", "loaded"), [("tp2_pp2", "dp2"), ("dp4", "pp2_uneven"), ("dp2_plain", "tp2_plain")])
def test_main_weights_survive_another_layout(
    run_and_whole: tuple[Run, dict[str, Held]], saved: str, loaded: str, tmp_path: Path
) -> None:
    run, whole = run_and_whole
    world_size, parallel = LAYOUTS[saved]
    (tmp_path / "saved").mkdir()
    run_on_ranks(world_size, save, run, parallel, tmp_path / "saved")
    stored = read_main_weights(tmp_path / "saved")
    assert stored is not None
    for name, one in whole.items():
        assert torch.equal(stored.read(name, 0, one.shard.full_shape[0]), _full(one, one.main)), name
    world_size, parallel = LAYOUTS[loaded]
    for rank in run_on_ranks(world_size, load, run, parallel, tmp_path / "saved"):
        for mine in rank:
            one = whole[mine.shard.name]
            assert torch.equal(mine.main, mine.part_of(_full(one, one.main))), mine.shard.name
            assert torch.equal(mine.copy, mine.part_of(_full(one, one.copy))), mine.shard.name


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Of a run that goes on from the bf16 weights of a Hugging Face directory."""
    folder = tmp_path_factory.mktemp("inputs")
    hf_folders.write(folder / "hf", "qwen2_tied", torch.bfloat16)
    given = [f"init_from={folder}/hf", "model.hf_config=null", "model.precision=bf16", "optimizer.lr=1e-5"]
    return [*write_inputs(folder), *given, "checkpoint.save_every=5"]


def trained(world_size: int, keys: list[str], output: Path) -> str:
    answers = run_on_ranks(world_size, pretrain, [*keys, f"output_dir={output}"])
    assert {code for code, _ in answers} == {0}, answers[0][1]
    return answers[0][1]


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_a_resumed_run_draws_nothing_again(rounding: str, keys: list[str], tmp_path: Path) -> None:
    """It goes on bit-equal, with the same stochastic rounding of later steps."""
    keys = [*keys, f"optimizer.bf16_rounding={rounding}"]
    unbroken, resumed = tmp_path / "unbroken", tmp_path / "resumed"
    assert "begin at random places" in trained(2, keys, unbroken)
    trained(2, [*keys, "checkpoint.keep_last=1"], resumed)
    shutil.rmtree(resumed / "checkpoints")
    shutil.copytree(unbroken / "checkpoints" / "step-00000005", resumed / "checkpoints" / "step-00000005")
    (resumed / "checkpoints" / "latest").write_text("step-00000005\n")
    said = trained(2, keys, resumed)
    assert "going on from" in said and "begin at random places" not in said
    for name in ("loss", "grad_norm", "validation/held_out/loss"):
        assert figures(resumed, name) == figures(unbroken, name)


def test_a_run_begins_as_without_and_goes_on_otherwise(keys: list[str], tmp_path: Path) -> None:
    steps = ["training.train_steps=3"]
    plain, dithered = tmp_path / "plain", tmp_path / "dithered"
    said = trained(1, [*keys, *steps, "optimizer.dither_main_weights=false"], plain)
    assert "begin at random places" not in said
    trained(1, [*keys, *steps], dithered)
    validation = "validation/held_out/loss"
    assert figures(plain, validation)[0] == figures(dithered, validation)[0]
    losses = [figures(folder) for folder in (plain, dithered)]
    assert losses[0][1] == losses[1][1] and losses[0][3] != losses[1][3]


def test_a_run_from_random_weights_is_left_alone_unless_asked(keys: list[str], tmp_path: Path) -> None:
    folder = next(key for key in keys if key.startswith("init_from=")).removeprefix("init_from=").removesuffix("/hf")
    random = [*keys, "init_from=null", f"model.hf_config={folder}/model", "training.train_steps=1"]
    assert "begin at random places" not in trained(1, random, tmp_path / "left")
    assert "begin at random places" in trained(1, [*random, "optimizer.dither_main_weights=true"], tmp_path / "asked")


def write_checksums_again(checkpoint: Path) -> None:
    """After a small file was changed."""
    blocks = {name: found for name, found in read_checksums(checkpoint).files.items() if name.endswith(".distcp")}
    (checkpoint / "run" / "checksums.json").unlink()
    write_checksums(checkpoint, blocks)


def test_auto_precision_is_recorded_and_stays(keys: list[str], tmp_path: Path) -> None:
    """As on a machine that has another processor: the record counts."""
    run = [*keys, "model.precision=auto", "training.train_steps=1"]
    said = trained(1, run, tmp_path / "run")
    record = tmp_path / "run" / "checkpoints" / "step-00000001" / "run" / "config.yaml"
    chosen, other = ("bf16", "fp32") if "auto takes bf16" in said else ("fp32", "bf16")
    assert f"auto takes {chosen}" in said and f"precision: {chosen}" in record.read_text()
    assert f"precision: {chosen}" in (tmp_path / "run" / "config.yaml").read_text()
    record.write_text(record.read_text().replace(f"precision: {chosen}", f"precision: {other}"))
    write_checksums_again(record.parents[1])
    assert f"auto takes {other}, as the run began" in trained(1, run, tmp_path / "run")


def test_verify_tells_the_losses_of_what_was_trained_and_exported(keys: list[str], tmp_path: Path) -> None:
    """On two stages, of a run on one process; dithered, the export loses nothing that its main weights have."""
    trained(1, [*keys, "optimizer.lr=1e-2"], tmp_path / "run")
    run = f"checkpoint={tmp_path}/run"
    for dtype in ("float32", "bfloat16"):
        [(code, said)] = run_on_ranks(
            1, command_line, ["export-hf", run, f"output={tmp_path}/{dtype}", f"dtype={dtype}"]
        )
        assert code == 0, said
    losses = {}
    for dtype in ("float32", "bfloat16"):
        arguments = ["verify", run, f"hf={tmp_path}/{dtype}", "validation=true", "rows=1", "seq_length=8",
                     "device=cpu", "parallel.pipeline_model_parallel_size=2"]  # fmt: skip
        (code, said), _ = run_on_ranks(2, command_line, arguments)
        assert code == 0, said
        found = re.search(r"validation held_out: loss (\S+) of the main weights, (\S+) of those .* (\S+) of hf's", said)
        assert found is not None, said
        losses[dtype] = [float(number) for number in found.groups()]
    (main, copy, exported), (_, _, in_bf16) = losses["float32"], losses["bfloat16"]
    assert exported == main and in_bf16 == copy and main != copy
    assert copy == pytest.approx(figures(tmp_path / "run", "validation/held_out/loss")[10], rel=1e-2)
