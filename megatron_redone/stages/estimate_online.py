"""`redone estimate-online`: what online figures would be under other models, from logs of the present ones.

The click-page rate of post-view search comes from pages that were served at random by a known policy; the exposure of
harmful content from posts whose harm is known. What the logs cannot say is refused, with the reason.
"""

import dataclasses
import logging
from pathlib import Path

from megatron_redone.config.estimate_online import EstimateOnlineConfig
from megatron_redone.config.schema import work_hash
from megatron_redone.evaluation.online_estimates import Estimated, estimate_harm, estimate_search
from megatron_redone.evaluation.online_file import INVALID, TABLE, finished_estimates, write_estimates
from megatron_redone.formats.atomic import writing_errors
from megatron_redone.formats.done_check import is_complete
from megatron_redone.formats.inputs import InputFile, expand_inputs
from megatron_redone.formats.lock import folder_lock

log = logging.getLogger(__name__)


def run(config: EstimateOnlineConfig) -> None:
    """Writes online.json, online.md and invalid.jsonl, and prints the table.

    Raises:
        UserError: for anything that the user can mend: see the message.
    """
    sources = [*config.post_view_search, *config.exposure]
    files = {source.label: expand_inputs([source.path]) for source in sources}
    work = work_hash(config, {name: [dataclasses.astuple(one) for one in found] for name, found in files.items()})
    with writing_errors(config.output), folder_lock(Path(config.output), "output") as output:
        finished = finished_estimates(output)
        if is_complete(finished, work, overwrite=config.overwrite, place=str(output), key="output"):
            print((output / TABLE).read_text(encoding="utf-8"), end="")
            return
        found = _estimates(config, files)
        print(write_estimates(output, config, found, work), end="")
        for one in found:
            if one.invalid:
                counts = f"{len(one.invalid):,} of {one.records:,}"
                log.warning("%s: %s records are invalid, listed in %s", one.name, counts, output / INVALID)


def _estimates(config: EstimateOnlineConfig, files: dict[str, list[InputFile]]) -> list[Estimated]:
    found = [estimate_search(config, source, files[source.label]) for source in config.post_view_search]
    return found + [estimate_harm(config, source, files[source.label]) for source in config.exposure]
