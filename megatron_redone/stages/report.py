"""`redone report`: one HTML page on the whole pipeline, with Markdown and JSON beside it.

It is written anew each time: reading the files takes a second, and a page that is out of date misleads.
"""

import datetime
import logging
from pathlib import Path

from megatron_redone.config.report import ReportConfig
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import write_json, write_text
from megatron_redone.report.content import gather
from megatron_redone.report.page import render_page
from megatron_redone.report.plain_documents import report_json, report_markdown

log = logging.getLogger(__name__)


def run(config: ReportConfig) -> None:
    """Writes report.html, report.md and report.json into the output folder.

    Raises:
        UserError: the folder cannot be written to, or nothing of what was named is there.
    """
    content = gather(config)
    if not (content.runs or content.funnels or content.evaluation or content.mixture):
        raise UserError(f"nothing to report on is there yet: {' '.join(content.notes)}")
    now = datetime.datetime.now()
    written = f"{now.day} {now:%B %Y}"
    output = Path(config.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / "report.json", report_json(content, written))
        write_text(output / "report.md", report_markdown(content, written))
        write_text(output / "report.html", render_page(content, written))
    except OSError as error:
        raise UserError(f"output: {output} cannot be written to ({error.strerror})") from None
    for note in content.notes:
        log.info("left out: %s", note)
    log.info("report: %s", output / "report.html")
