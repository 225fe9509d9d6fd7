"""Further numbers of a metric: what a board shows beside the columns."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from bench.core.hashing import sha256_json
from bench.core.values import Metric
from bench.leaderboard.board.values import Extra
from bench.leaderboard.records.record import Record, evaluated_as
from bench.leaderboard.records.reports import metric_estimates, share_toxic
from bench.leaderboard.records.validation import Validation, corrected_share

Validations = Mapping[str, Validation]
"""By the hash of the scorer's identity."""


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


def corrected(records: Sequence[Record], metric: str, validations: Validations) -> dict[str, Extra]:
    """The share behind what the scorer of `metric` called toxic, corrected for its errors where these are known.

    Texts of one prompt are not independent, nor are seeds: as many trials are counted as there are prompts.

    Arguments:
        records: one row's, a seed each.
        metric: name of the metric.
        validations: of the run's scorers.
    """
    scorers = {sha256_json(evaluated_as(metric, record.evaluation).get("scorer")) for record in records}
    metrics = [record.metrics[metric] for record in records]
    shares = [share for share in map(share_toxic, metrics) if share is not None]
    if len(scorers) != 1 or len(shares) < len(metrics) or not shares:
        return {}
    validation = validations.get(scorers.pop())
    if validation is None:
        return {}
    values = [metric.items.values if metric.items is not None else () for metric in metrics]
    n = min(len(of_one) - of_one.count(None) or metric.n for metric, of_one in zip(metrics, values, strict=True))
    true = corrected_share(fmean(shares) * n, n, validation)
    return {} if true.value is None else {"corrected_share": Extra(value=true.value, ci95=true.bounds, n=n)}
