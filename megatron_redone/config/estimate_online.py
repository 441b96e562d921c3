"""Keys of `redone estimate-online`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from megatron_redone.config.evaluate import BootstrapConfig
from megatron_redone.config.field import key
from megatron_redone.errors import UserError


@dataclass(frozen=True, kw_only=True)
class OnlineLog:
    """Records of one log."""

    path: str = key("a JSONL or Parquet file, or several by a glob or a directory", reads=True)
    name: str | None = key("how tables call it; null takes the file's name", None)

    @property
    def label(self) -> str:
        """The name in tables."""
        return self.name or PurePath(self.path).name.split(".")[0]


@dataclass(frozen=True, kw_only=True)
class SearchLogSource(OnlineLog):
    """Pages of post-view search: what was shown, how likely that was, what was clicked, and other policies."""

    switch_above: float = key("weight above which switch-DR trusts the model of clicks alone", 10.0, above=0)


@dataclass(frozen=True, kw_only=True)
class ExposureSource(OnlineLog):
    """Posts with impressions, labels of harm, and the scores of models that decide what is removed."""

    baseline: str = key("the model among `scores` that the others are to replace")
    removed: list[float] = key("shares of the posts that every model removes: equal volume", [0.01])
    precision: list[float] = key("shares of what a model removes that are to be harmful: equal precision", [0.9])

    def __post_init__(self) -> None:
        for name in ("removed", "precision"):
            if wrong := [value for value in getattr(self, name) if not 0 < value < 1]:
                raise UserError(f"{name}: {wrong[0]:g} is not between 0 and 1")
        if not (self.removed or self.precision):
            raise UserError("removed: no rule is left; give shares that are removed, or a precision")


@dataclass(frozen=True, kw_only=True)
class EstimateOnlineConfig:
    """What online figures would be under other models, from logs of the present ones."""

    output: str = key("folder of online.json, online.md and invalid.jsonl", writes=True)
    post_view_search: list[SearchLogSource] = key("logs of suggestions: their click-page rate", [])
    exposure: list[ExposureSource] = key("labelled posts: the exposure of harmful content", [])
    least_pages: float = key("pages that weigh alike, of which an estimate must have as many", 100.0, at_least=2)
    least_clicks: float = key("clicks that weigh alike, of which it must have as many", 20.0, at_least=2)
    least_harmful: float = key("harmful posts seen alike, of which an exposure must have as many", 10.0, at_least=6)
    most_uncovered: float = key(
        "part of a policy's probability, at most, on what the log cannot have shown (where it says what it can)",
        0.001,
        at_least=0,
        below=1,
    )
    bootstrap: BootstrapConfig = key("intervals", BootstrapConfig)
    max_invalid: float = key(
        "stop when more than this fraction of a log's records is invalid", 0.01, decides=False, at_least=0, at_most=1
    )
    overwrite: bool = key("replace a finished output that was made with other settings or logs", False, decides=False)

    def __post_init__(self) -> None:
        if not (self.post_view_search or self.exposure):
            raise UserError("post_view_search: nothing to estimate from; name post_view_search or exposure")
        _check_distinct([source.label for source in [*self.post_view_search, *self.exposure]])


def _check_distinct(names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"name: two logs are called '{twice}'; give them different names with name=")
