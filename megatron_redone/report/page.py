"""The page: one HTML file that needs nothing beside it."""

from importlib.resources import files
from typing import TYPE_CHECKING, Any

import yaml

from megatron_redone.evaluation.tables import model_names, reading_note, sections
from megatron_redone.metrics.progress import scaled
from megatron_redone.report import views
from megatron_redone.report.content import ReportContent
from megatron_redone.report.mixture_view import render_mixture

if TYPE_CHECKING:
    from markupsafe import Markup


def render_page(content: ReportContent, written: str) -> str:
    """The report as HTML, with its style and its script inside; it opens without a network.

    Args:
        content: What to show.
        written: The date, for the heading.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["scaled"] = scaled
    environment.filters["breakable"] = _breakable
    template = environment.from_string(_asset("page.html"))
    evaluation = content.evaluation
    return template.render(
        content=content,
        written=written,
        style=_asset("page.css"),
        script=_asset("page.js"),
        tiles=views.tiles(content),
        mixture=render_mixture(content.mixture) if content.mixture is not None else "",
        runs=[views.run_view(run) for run in content.runs],
        sections=sections(evaluation) if evaluation is not None else [],
        models=model_names(evaluation) if evaluation is not None else [],
        reading_note=reading_note(evaluation) if evaluation is not None else "",
        evaluation_yaml=_yaml(evaluation["config"]) if evaluation is not None else "",
        lanes=views.lanes,
        bars=views.bars,
        colours=views.COLOURS,
    )


def _breakable(name: str) -> "Markup":
    """A name that may be broken after its underscores, rather than in mid-word."""
    from markupsafe import Markup, escape

    return Markup("_<wbr>").join(escape(part) for part in name.split("_"))


def _asset(name: str) -> str:
    return files("megatron_redone.report").joinpath(name).read_text(encoding="utf-8")


def _yaml(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
