"""Shares of toxic texts, corrected for the scorer's own errors where these were measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from bench.core.hashing import sha256_json
from bench.core.values import Metric
from bench.leaderboard.board.values import Aside
from bench.leaderboard.records.record import Record
from bench.leaderboard.records.validation import Validation, corrected_share

Validations = Mapping[str, Validation]
"""By the hash of the scorer's identity."""


def corrected(records: Sequence[Record], metric: str, validations: Validations) -> dict[str, Aside]:
    """The share behind what the scorer of `metric` called toxic, as an aside; none where its errors are not known.

    Texts of one prompt are not independent, nor are seeds: as many trials are counted as there are prompts.

    Arguments:
        records: one row's, a seed each.
        metric: name of the metric.
        validations: of the run's scorers.
    """
    judges = {sha256_json(record.evaluation[metric].get("scorer")) for record in records}
    found = [record.metrics[metric] for record in records]
    shares = [each.details.get("share_toxic") for each in found]
    known = [share for share in shares if share is not None]
    if len(judges) != 1 or len(known) < len(shares) or not known:
        return {}
    validation = validations.get(judges.pop())
    if validation is None:
        return {}
    n = min(map(_prompts, found))
    share = corrected_share(fmean(known) * n, n, validation)
    return {} if share.value is None else {"corrected_share": Aside(value=share.value, ci95=share.bounds, n=n)}


def _prompts(metric: Metric) -> int:
    values = metric.items.values if metric.items is not None else ()
    return sum(value is not None for value in values) or metric.n
