"""`redone select-quality`: documents scored by a small model, and cut by percentile within source, language and length.

Scores are saved block by block in OUTPUT/work; a killed run goes on with the blocks that are missing. With
`--job I` only a part of them is scored, here and now: one task of a scheduler's array.
"""

import dataclasses
import importlib.util
import logging
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import numpy as np

from megatron_redone.config.schema import work_hash
from megatron_redone.config.select_quality import SelectQualityConfig
from megatron_redone.curation.quality.classifier import Scorer, open_classifier
from megatron_redone.curation.quality.quality_files import (
    TABLE,
    WORK,
    finished_selection,
    remove_selection,
    select,
    write_selection,
)
from megatron_redone.curation.quality.score_blocks import saved_facts, score_blocks
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import writing_errors
from megatron_redone.formats.done_check import is_complete
from megatron_redone.formats.file_record import file_sha256
from megatron_redone.formats.inputs import expand_inputs, refuse_inputs_within
from megatron_redone.formats.lock import folder_lock

log = logging.getLogger(__name__)


def run(config: SelectQualityConfig) -> None:
    """Writes NAME.jsonl for each source, random/, dropped/, scores/, quality.json, quality.txt and manifest.json.

    Raises:
        UserError: for anything that the user can mend: see the message.
    """
    for library in ("pycld2", "xxhash", "ahocorasick_rs"):
        if importlib.util.find_spec(library) is None:
            raise UserError(f"{library} is missing; telling languages needs `pip install 'megatron_redone[curation]'`")
    output, is_job = Path(config.output_dir), config.job is not None
    scores, work = _score_hash(config), _work_hash(config)
    finished = finished_selection(output)
    if is_complete(finished, work, overwrite=config.overwrite and not is_job, place=str(output)):
        return
    folder = output / WORK / scores  # kept: another percentile needs no other scores
    with writing_errors(output), nullcontext() if is_job else folder_lock(output):
        if not is_job:
            remove_selection(output, finished)
        _score(config, folder)
        if is_job:
            log.info("job %d of %d has scored its part; the command without it does the rest", config.job, config.jobs)
            return
        selected = [select(config, one, saved_facts(folder / one.name)) for one in config.sources]
        for other in (output / WORK).iterdir():
            if other != folder:
                shutil.rmtree(other)
        write_selection(config, selected, work)
    print((output / TABLE).read_text(encoding="utf-8"), end="")
    log.info("%s: done; dropped documents lie in %s with their scores", output, output / "dropped")


def _inputs(config: SelectQualityConfig) -> list[tuple[object, ...]]:
    files = [file for one in config.sources for file in expand_inputs(one.input)]
    refuse_inputs_within(config.output_dir, files)
    return [dataclasses.astuple(file) for file in files]


def _scorer_digest(config: SelectQualityConfig) -> str:
    if config.perplexity.model is not None:
        from megatron_redone.generation.model_files import model_fingerprint

        return model_fingerprint(config.perplexity.model)
    assert config.classifier.file is not None, "checked by the configuration"
    path = Path(config.classifier.file)
    if not path.is_file():
        raise UserError(f"classifier.file: {path} does not exist")
    return file_sha256(path)


def _work_hash(config: SelectQualityConfig) -> str:
    return work_hash(config, _inputs(config), _scorer_digest(config))


def _score_hash(config: SelectQualityConfig) -> str:
    """Of what decides the scores, not of what is cut by them."""
    same = SelectQualityConfig(
        sources=config.sources,
        output_dir=config.output_dir,
        perplexity=config.perplexity,
        classifier=config.classifier,
        seed=config.seed,
        block_documents=config.block_documents,
    )
    return _work_hash(same)


def _score(config: SelectQualityConfig, folder: Path) -> None:
    @cache
    def scorer() -> Scorer:
        return _open_scorer(config)

    def is_mine(block: int) -> bool:
        return config.job is None or block % config.jobs == config.job

    for one in config.sources:
        total = 0
        blocks = score_blocks(one, config.block_documents, config.seed, scorer, folder / one.name, is_mine)
        for documents in blocks:
            total += documents
            log.info("%s: %d documents scored", one.name, total)


def _open_scorer(config: SelectQualityConfig) -> Scorer:
    if config.perplexity.model is None:
        return open_classifier(config.classifier)
    from megatron_redone.generation.hf_model import load_model
    from megatron_redone.generation.log_probabilities import BatchLimits
    from megatron_redone.generation.placement import choose_placement
    from megatron_redone.generation.text_losses import mean_losses

    keys = config.perplexity
    assert keys.model is not None, "asked above"
    model = load_model(keys.model, choose_placement(keys.device, keys.dtype))
    limits = BatchLimits(keys.batch_size, keys.batch_tokens)

    def score(texts: Sequence[str]) -> np.ndarray:
        return mean_losses(model, texts, keys.tokens, limits)

    return score
