"""Shares of toxic texts, corrected for the scorer's own errors where these were measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from bench.core.hashing import sha256_json
from bench.leaderboard.board.values import Extra
from bench.leaderboard.records.record import Record
from bench.leaderboard.records.reports import share_toxic
from bench.leaderboard.records.validation import Validation, corrected_share

Validations = Mapping[str, Validation]
"""By the hash of the scorer's identity."""


def corrected(records: Sequence[Record], metric: str, validations: Validations) -> dict[str, Extra]:
    """The share behind what the scorer of `metric` called toxic, as an extra; none where its errors are not known.

    Texts of one prompt are not independent, nor are seeds: as many trials are counted as there are prompts.

    Arguments:
        records: one row's, a seed each.
        metric: name of the metric.
        validations: of the run's scorers.
    """
    scorers = {sha256_json(record.evaluation[metric].get("scorer")) for record in records}
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
