"""`redone dpo`: preference optimisation on any parallel layout, with one model in memory.

To be started by torchrun, or alone for one process, after `redone score-reference` for a loss that compares the
policy with a reference.
"""

from typing import Any

from megatron_redone.batches.row_placer import RowPlacer
from megatron_redone.config.data import DataSource
from megatron_redone.config.dpo import DpoConfig
from megatron_redone.config.model import Backend
from megatron_redone.datasets.batch_reader import BatchReader
from megatron_redone.datasets.batch_slice import BatchSlice
from megatron_redone.datasets.blend import Blend
from megatron_redone.datasets.pair_rows import RowPlan, pair_validation
from megatron_redone.datasets.preference_pairs import PairStream
from megatron_redone.datasets.vocabulary import Vocabulary
from megatron_redone.errors import UserError
from megatron_redone.formats.preferences import PreferenceDataset
from megatron_redone.formats.reference_scores import ReferenceScores, check_reference, read_reference, reference_path
from megatron_redone.formats.weights_fingerprint import weights_fingerprint
from megatron_redone.objectives.preference import PreferenceObjective
from megatron_redone.training.initial_weights import find_initial_weights
from megatron_redone.training.run_inputs import RunData
from megatron_redone.training.setup import run_training


def run(config: DpoConfig) -> None:
    """Trains, and leaves checkpoints, metrics.jsonl and config.yaml in `output_dir`; see `run_training`."""
    run_training(config, _open_data, _make_objective)


def _open_data(config: DpoConfig, batch_slice: BatchSlice, vocabulary: Vocabulary) -> RunData:
    model = _reference_model(config)
    streams = [_open(config, source, model, vocabulary, config.data.shuffle) for source in config.data.blend]
    held_out = [_open(config, source, model, vocabulary, False) for source in config.data.validation]
    blend = Blend(config.data.blend, streams)
    multiple = config.model.tokens_multiple(config.parallel.sequence_parallel)
    plan = RowPlan(config.data.seq_length, config.parallel, multiple)
    return RunData(
        reader=BatchReader(blend, batch_slice, plan),
        progress=blend.progress,
        validation=pair_validation(config.data, held_out, plan),
        identity=_identity(config, blend, model),
        train_steps=config.training.steps(config.data.seq_length, blend.samples_per_epoch),
        packed=True,
        lengths_vary=True,
        chat_template_of=config.data.chat_template_of,
        description=[f"{name}: {stream.describe()}" for name, stream in zip(blend.names, streams, strict=True)],
    )


def _make_objective(config: DpoConfig, row_placer: RowPlacer) -> PreferenceObjective:
    if row_placer.backend is Backend.transformer_engine and config.data.share_prompt:
        raise UserError(
            "data.share_prompt: needs model.backend=torch; Transformer Engine's attention knows no prefixes"
        )
    return PreferenceObjective(config.loss, row_placer)


def _reference_model(config: DpoConfig) -> str | None:
    """Fingerprint of the model whose scores are wanted; None where any will do or none are needed."""
    if not config.loss.loss.needs_reference or config.accept_other_reference:
        return None
    return weights_fingerprint(find_initial_weights(config.reference or config.init_from).folder)


def _open(
    config: DpoConfig, source: DataSource, model: str | None, vocabulary: Vocabulary, shuffle: bool
) -> PairStream:
    stream = PairStream(
        source.path,
        seq_length=config.data.seq_length,
        share_prompt=config.data.share_prompt,
        too_long=config.data.too_long,
        seed=config.data.seed,
        shuffle=shuffle,
        vocabulary=vocabulary,
        reference=_reference(config, source, model),
    )
    if config.loss.loss.needs_rewards and not stream.has_rewards:
        raise UserError(
            f"loss.loss: {config.loss.loss.name} needs the rewards of both responses, and {source.path} has none; "
            "choose another loss, or give every record chosen_reward and rejected_reward"
        )
    return stream


def _reference(config: DpoConfig, source: DataSource, model: str | None) -> ReferenceScores | None:
    if not config.loss.loss.needs_reference:
        return None
    dataset = PreferenceDataset.open(source.path)
    path = reference_path(source.path, source.label, config.reference_dir)
    scores = read_reference(path)
    check_reference(path, scores, dataset.fingerprint, dataset.pairs, model)
    dataset.close()
    return scores


def _identity(config: DpoConfig, blend: Blend[PairStream], model: str | None) -> dict[str, Any]:
    return {
        "seq_length": config.data.seq_length,
        "shuffle": config.data.shuffle,
        "seed": config.data.seed,
        "pairs_a_batch": config.training.global_batch_size,
        "reference": model,
        "blend": [
            {"name": s.name, "share": round(s.fraction, 12), "pairs": stream.samples_per_epoch, "data": stream.digest}
            for s, stream in zip(blend.progress(0), blend.streams, strict=True)
        ],
    }
