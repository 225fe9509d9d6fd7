"""Whether capability and perplexity were preserved: the margins, and a verdict on each change."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.core.errors import UsageError
from bench.core.intervals import Interval
from bench.leaderboard.board.values import Preserved
from bench.leaderboard.records.layout import config_path
from bench.leaderboard.records.perplexity_rise import DEFAULT, PerplexityRise, parse_rise
from bench.leaderboard.statistics.equivalence import Margin, equivalence

Margins = Mapping[str, float]
"""By metric: the loss against base up to which it counts as preserved; positive, in the change's unit."""
MARGINS: Margins = {"capability": 0.01, "perplexity": 0.05}
"""One point of accuracy; five per cent of perplexity."""


def preserved(change: Interval, margin: float, *, higher_is_better: bool) -> Preserved:
    """Judge a change. A gain is no harm, however large: the margin bounds the loss alone.

    Arguments:
        change: at `bench.leaderboard.statistics.equivalence.LEVEL`.
    """
    bounds = Margin(low=-margin, high=None) if higher_is_better else Margin(low=None, high=margin)
    return Preserved(verdict=equivalence(change, bounds), ci90=change.bounds, margin=margin)


def read_margins(directory: Path) -> Margins:
    """The margins that `margins:` in a run's config.yaml names, by metric; the default for what it does not name.

    Raises:
        UsageError: the file cannot be read, or a margin is not a positive number.
    """
    path = config_path(directory)
    given = _settings(path).get("margins", {})
    if not isinstance(given, Mapping):
        raise UsageError(f"{path}: 'margins' is {given!r}; give a number for each metric, e.g. {dict(MARGINS)}")
    for name, margin in given.items():
        if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin < float("inf"):
            raise UsageError(
                f"{path}: margins.{name} is {margin!r}; give the largest loss that still counts as none, e.g. 0.01 "
                "for a point of accuracy or 0.05 for five per cent of perplexity"
            )
    return {**MARGINS, **{str(name): float(margin) for name, margin in given.items()}}


def read_rise(directory: Path) -> PerplexityRise:
    """The most by which an operating point may raise perplexity, as `validation:` in a run's config.yaml says, or the
    default.

    Raises:
        UsageError: the file cannot be read, or says something else there.
    """
    path = config_path(directory)
    validation = _settings(path).get("validation")
    given = validation.get("max_perplexity_rise", DEFAULT) if isinstance(validation, Mapping) else DEFAULT
    try:
        return parse_rise(given)
    except ValueError as error:
        raise UsageError(f"{path}: validation.max_perplexity_rise: {error}") from error


def _settings(path: Path) -> Mapping[str, Any]:
    """What a run's config.yaml holds; nothing where there is none."""
    if not path.is_file():
        return {}
    import yaml

    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    return settings if isinstance(settings, Mapping) else {}
