"""Keys of `redone report`."""

from dataclasses import dataclass

from megatron_redone.config.field import key
from megatron_redone.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """One page on everything that a pipeline did. What is not there is left out with a note."""

    output: str = key("folder of report.html, report.md and report.json", writes=True)
    title: str = key("the heading", "From posts to a model")
    runs: list[str] = key("folders of training runs (their output_dir), in the order of the stages", [], reads=True)
    funnel: str | None = key("funnel.json of `redone curate`, or the folder that holds it", None, reads=True)
    evaluation: str | None = key("evaluation.json of `redone evaluate`, or the folder that holds it", None, reads=True)
    mixture: str | None = key(
        "mixture.json of `redone optimize-mixture`, or the folder that holds it", None, reads=True
    )

    def __post_init__(self) -> None:
        if not (self.runs or self.funnel or self.evaluation or self.mixture):
            raise UserError("runs: nothing to report on; name runs, funnel, mixture or evaluation")
        twice = next((run for run in self.runs if self.runs.count(run) > 1), None)
        if twice is not None:
            raise UserError(f"runs: '{twice}' is named twice")
