"""`redone optimize-mixture`: many small runs over mixtures of sources, and the blend that follows from their losses.

Every small run that ends leaves its losses in OUTPUT/proxies; a killed search goes on with those that are missing.
With `--job I` only a part of them is trained, here and now: one task of a scheduler's array.
"""

import importlib.util
import logging
from contextlib import nullcontext
from pathlib import Path

from megatron_redone.config.optimize_mixture import OptimizeMixtureConfig
from megatron_redone.config.schema import work_hash
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import writing_errors
from megatron_redone.formats.done_check import is_complete
from megatron_redone.formats.lock import folder_lock
from megatron_redone.mixture.former_search import read_former_search
from megatron_redone.mixture.proxy_runs import ProxyRuns
from megatron_redone.mixture.search import Search
from megatron_redone.mixture.search_data import open_search_data
from megatron_redone.mixture.search_files import BLEND, TABLE, finished_search, write_search

log = logging.getLogger(__name__)


def run(config: OptimizeMixtureConfig) -> None:
    """Writes blend.yaml, mixture.json, mixture.md and manifest.json; of a job, its proxies alone.

    Raises:
        UserError: for anything that the user can mend: see the message.
    """
    if importlib.util.find_spec("scipy") is None:
        raise UserError("scipy is missing; searching mixtures needs `pip install 'megatron_redone[mixture]'`")
    output, is_job = Path(config.output_dir), config.job is not None
    data = open_search_data(config)
    former = None if config.reuse is None else read_former_search(config.reuse, data)
    work = work_hash(config, data.facts, None if former is None else former.seal)
    if is_complete(finished_search(output), work, overwrite=config.overwrite and not is_job, place=str(output)):
        return
    runs = ProxyRuns(config, data)
    search = Search(config, data, former, runs)
    with writing_errors(output), nullcontext() if is_job else folder_lock(output):
        runs.train(search.first_runs(), "proxies")
        if is_job:
            log.info("job %d of %d has trained its part; the command without it does the rest", config.job, config.jobs)
            return
        found = search.finish()
        write_search(output, config, data, found, runs, work)
    print((output / TABLE).read_text(encoding="utf-8"), end="")
    log.info("%s: for data.blend_file of `redone pretrain`", output / BLEND)
