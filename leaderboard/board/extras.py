"""Further numbers of a metric: what a board shows beside the columns."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from bench.core.values import Metric
from bench.leaderboard.board.values import Extra
from bench.leaderboard.records.reports import metric_estimates


def extras(metrics: Sequence[Metric]) -> dict[str, Extra]:
    """What all of several seeds' metrics say besides their value, by dotted name, e.g. "guards.distinct_2".

    A number that one of them lacks is left out: a mean over some seeds would be taken for one over all.
    """
    by_seed = [
        {name: Extra(value=value, ci95=about.ci95, n=about.n) for name, value, about in metric_estimates(metric)}
        for metric in metrics
    ]
    if len(by_seed) == 1:
        return by_seed[0]
    shared = [name for name in by_seed[0] if all(name in numbers for numbers in by_seed)] if by_seed else []
    values = {name: [numbers[name].value for numbers in by_seed] for name in shared}
    return {
        name: Extra(value=fmean(numbers), n=by_seed[0][name].n, lowest=min(numbers), highest=max(numbers))
        for name, numbers in values.items()
    }
