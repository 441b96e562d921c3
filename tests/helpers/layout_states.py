"""A known state on any layout, for tests that save it on one and load it on another.

Every element of weights, main weights and moments follows from the full weight of transformers' model at its place,
which `models/shards.py` cuts for a layout: another way than the one by which checkpoints are written. Everything here
is imported on ranks of the pool by name.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from megatron.core.optimizer import MegatronOptimizer
from torch.distributed import distributed_c10d as c10d

from megatron_redone.config.model import Backend, ModelConfig, Precision
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.distributed import destroy_context, start_context
from megatron_redone.distributed.collectives import broadcast_from_main
from megatron_redone.models.build import Model, build_model
from megatron_redone.models.shards import iterate_shards
from megatron_redone.models.wrapping import wrap_data_parallel
from megatron_redone.training.model_state import full_state, load_full
from megatron_redone.training.optimizer import build_optimizer
from megatron_redone.training.optimizer_state import Held, iterate_held
from megatron_redone.training.tensor_places import find_places, places_by_parameter
from tests.helpers import hf_models
from tests.helpers.gathered_checkpoints import load_gathered
from tests.helpers.peak_memory import peak_mb
from tests.helpers.sharded_saves import save_sharded

_PP2: dict[str, Any] = {"pipeline_model_parallel_size": 2}
_TP2: dict[str, Any] = {"tensor_model_parallel_size": 2}
LAYOUTS: dict[str, dict[str, Any]] = {
    "dp4": {},
    "tp2_sp": {**_TP2, "sequence_parallel": True},
    "pp2": _PP2,
    "pp2_vpp2": {**_PP2, "virtual_pipeline_model_parallel_size": 2},
    "pp2_uneven": {**_PP2, "num_layers_in_last_pipeline_stage": 1},
    "pp4": {"pipeline_model_parallel_size": 4},
    "cp2": {"context_parallel_size": 2},
    "tp2_pp2": {**_TP2, **_PP2},
    "tp2_cp2": {**_TP2, "context_parallel_size": 2},
    "tp2_plain_optimizer": {**_TP2, "use_distributed_optimizer": False},
}
"""On four ranks."""

# The number of rows is padded to 384 without tensor parallelism, to 512 with two ranks.
_CHANGES = {"vocab_size": 300}
_STEP, _LR = 7, 0.125


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is saved: a model with tied or untied embeddings, in a precision."""

    tied: bool
    precision: Precision

    @property
    def model(self) -> str:
        """Of `hf_models.MODELS`."""
        return "qwen2_tied" if self.tied else "qwen2_untied"


@dataclass(frozen=True)
class State:
    """Model and optimizer on this rank."""

    model: Model
    optimizer: MegatronOptimizer

    def held(self) -> list[Held]:
        """What the optimizer holds here."""
        return list(iterate_held(self.optimizer, places_by_parameter([find_places(c) for c in self.model.chunks])))


def build(kind: Kind, layout: str) -> State:
    """A model with weights that are not the known ones, and an optimizer over them."""
    context = start_context(ParallelConfig(**LAYOUTS[layout]), Device.cpu)
    shape = hf_models.architecture(kind.model, **_CHANGES)
    compute = ModelConfig(hf_config="none", precision=kind.precision, backend=Backend.torch)
    model = build_model(shape, compute, context, seed=99)
    return State(model, build_optimizer(wrap_data_parallel(model), OptimizerConfig(lr=1e-3)))


def set_known(kind: Kind, state: State) -> None:
    """Sets the known weights, main weights, moments, step and learning rate."""
    known = _known_weights(kind, state.model)
    for parameter, full in known.items():
        parameter.data.copy_(full.view(parameter.shape))
    for group in state.optimizer.param_groups:
        group["step"], group["lr"] = _STEP, _LR
    for part in getattr(state.optimizer, "chained_optimizers", [state.optimizer]):
        part.init_state_fn(part.optimizer, part.config)
    for entry in state.held():
        for name, tensor in entry.tensors.items():
            tensor.data.copy_(_of(name, known[entry.weight][entry.first :][: tensor.numel()]).view(tensor.shape))


def differences(kind: Kind, state: State) -> list[str]:
    """What is not as known; padding is not looked at."""
    known = _known_weights(kind, state.model)
    found = []
    for parameter, full in known.items():
        ours, theirs = parameter.detach().flatten(), full.to(parameter.dtype)
        found += ["weights"] * (not torch.equal(ours[theirs == theirs], theirs[theirs == theirs]))
    for entry in state.held():
        found += ["moments"] * (not {"exp_avg", "exp_avg_sq"} <= entry.tensors.keys())
        for name, tensor in entry.tensors.items():
            ours, theirs = tensor.detach().flatten(), _of(name, known[entry.weight][entry.first :][: tensor.numel()])
            found += [name] * (not torch.equal(ours[theirs == theirs], theirs[theirs == theirs]))
    groups = state.optimizer.param_groups
    return found + ["groups"] * (not all(group["step"] == _STEP and group["lr"] == _LR for group in groups))


def spoil(state: State) -> None:
    """Changes everything that a load is to restore; an optimizer that is new has no moments yet, as on resuming."""
    for chunk in state.model.chunks:
        for parameter in chunk.parameters():
            parameter.data.fill_(-3.0)
    for group in state.optimizer.param_groups:
        group["step"], group["lr"] = 1, 1.0
    for entry in state.held() if len(state.optimizer.state) else ():
        for tensor in entry.tensors.values():
            tensor.data.fill_(-5.0)


def _known_weights(kind: Kind, model: Model) -> dict[torch.Tensor, torch.Tensor]:
    """Of each parameter its part of the full weight, flat and in fp32; NaN stands for padding."""
    theirs = hf_models.full_weights(hf_models.hf_model(kind.model, **_CHANGES), model.architecture)
    known = {}
    for shard in iterate_shards(model.chunks, model.architecture, model.context):
        full = torch.full(shard.parameter.shape, torch.nan)
        part = shard.take(theirs[shard.name])
        full[: len(part)] = part
        known[shard.parameter] = full.flatten()
    return known


def _of(name: str, weight: torch.Tensor) -> torch.Tensor:
    return {"exp_avg": weight * 3 + 1, "exp_avg_sq": weight * weight}.get(name, weight)


def each_layout(names: list[str]) -> Iterator[str]:
    """Takes the ranks from one layout to the next."""
    for number, name in enumerate(names):
        if number:
            port = broadcast_from_main(_free_port() if dist.get_rank() == 0 else None)
            destroy_context()
            os.environ["MASTER_PORT"] = str(port)
        yield name


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pass_on(kind: Kind, layouts: list[str], folder: Path) -> dict[str, list[str]]:
    """Each layout loads what the one before has saved, and saves it; what was not restored on this rank."""
    found: dict[str, list[str]] = {}
    before = ""
    for layout in each_layout(layouts):
        state = build(kind, layout)
        if before:
            spoil(state)
            load(state, folder / before)
            found[f"{before} -> {layout}"] = differences(kind, state)
        else:
            set_known(kind, state)
        save(state, folder / layout)
        before = layout
    return found


def save_on_each(kind: Kind, layouts: list[str], folder: Path) -> None:
    """Saves the known state on every layout."""
    for layout in each_layout(layouts):
        state = build(kind, layout)
        set_known(kind, state)
        save(state, folder / layout)


def load_each_on_each(kind: Kind, layouts: list[str], folder: Path) -> dict[str, list[str]]:
    """Loads what every layout has saved on every layout; what was not restored on this rank."""
    found = {}
    for layout in each_layout(layouts):
        state = build(kind, layout)
        for source in layouts:
            spoil(state)
            load(state, folder / source)
            found[f"{source} -> {layout}"] = differences(kind, state)
    return found


def save(state: State, folder: Path) -> None:
    """Saves into a new folder."""
    if dist.get_rank() == 0:
        folder.mkdir(parents=True)
    dist.barrier()
    save_sharded(full_state(state.model.chunks, state.optimizer), folder)


def load(state: State, folder: Path) -> None:
    """Loads, and waits until all have."""
    load_full(state.model.chunks, state.optimizer, folder)
    dist.barrier()


def megatron_core_loads(kind: Kind, layout: str, folder: Path) -> list[str]:
    """Saves, and loads by megatron-core's own code; what was not restored on this rank."""
    state = build(kind, layout)
    set_known(kind, state)
    save(state, folder / "saved")
    spoil(state)
    load_gathered(state.model.chunks, state.optimizer, folder / "saved")
    return differences(kind, state)


@dataclass(frozen=True)
class Needs:
    """What a save and a load took of a rank, beside the state."""

    bytes_sent: int
    peak_saving_mb: float
    peak_loading_mb: float


def needs(folder: Path) -> Needs:
    """Of a model that is large enough to tell from what varies by itself."""
    changes = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 6, "vocab_size": 32000}
    context = start_context(ParallelConfig(), Device.cpu)
    compute = ModelConfig(hf_config="none", precision=Precision.bf16, backend=Backend.torch)
    model = build_model(hf_models.architecture("qwen2_tied", **changes), compute, context)
    state = State(model, build_optimizer(wrap_data_parallel(model), OptimizerConfig(lr=1e-3)))
    for part in getattr(state.optimizer, "chained_optimizers", [state.optimizer]):
        part.init_state_fn(part.optimizer, part.config)
    dist.barrier()
    with _bytes_sent() as sent:
        saving = peak_mb(lambda: save(state, folder))
    loading = peak_mb(lambda: load(state, folder))
    return Needs(sum(sent), saving, loading)


@contextmanager
def _bytes_sent() -> Iterator[list[int]]:
    """The bytes that this rank hands to collectives, whichever of torch's it is."""
    names = ("all_gather", "gather", "broadcast", "scatter", "all_reduce", "reduce", "all_to_all", "send", "isend")
    sent: list[int] = []

    def counting(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **keys: Any) -> Any:
            tensors = [value for value in (*args, *keys.values()) if isinstance(value, torch.Tensor)]
            sent.extend(tensor.nbytes for tensor in tensors)
            return original(*args, **keys)

        return call

    with ExitStack() as patched:
        for name in names:
            patched.enter_context(mock.patch.object(c10d, name, counting(getattr(c10d, name))))
            patched.enter_context(mock.patch.object(dist, name, counting(getattr(dist, name))))
        yield sent
