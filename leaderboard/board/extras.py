"""Further numbers of a metric, from its details: what a board shows beside the columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from bench.core.values import Metric
from bench.leaderboard.board.values import Aside

PLAIN = ("share_toxic", "word_perplexity", "byte_perplexity", "bits_per_byte")
"""Details that are one number each."""
ESTIMATES = ("acc_norm", "expected_maximum", "toxicity_probability", "excess_rise", "toxicity_gap")
"""Details that have a `value`, perhaps a `ci95`, an `n`, and the `k` samples that they are of."""
GROUPS = ("by_prompt", "by_kind", "by_group")
"""Details that are estimates by name."""


def asides(metrics: Sequence[Metric]) -> dict[str, Aside]:
    """What all of several seeds' metrics say besides their value, by dotted name, e.g. "guards.distinct_2".

    A number that one of them lacks is left out: a mean over some seeds would be taken for one over all.
    """
    found = [dict(_found(metric.details)) for metric in metrics]
    if len(found) == 1:
        return found[0]
    shared = [name for name in found[0] if all(name in each for each in found)] if found else []
    return {name: _mean([each[name] for each in found]) for name in shared}


def _found(details: Mapping[str, Any]) -> Iterator[tuple[str, Aside]]:
    plain = {name: details.get(name) for name in PLAIN}
    guards = {f"guards.{name}": value for name, value in details.get("guards", {}).items()}
    for name, value in {**plain, **guards}.items():
        if isinstance(value, int | float):
            yield name, Aside(value=value)
    for name in ESTIMATES:
        yield from _estimate(name, details.get(name))
    for group in GROUPS:
        for name, estimate in details.get(group, {}).items():
            yield from _estimate(f"{group}.{name}", estimate)


def _estimate(name: str, estimate: Mapping[str, Any] | None) -> Iterator[tuple[str, Aside]]:
    value = None if estimate is None else estimate.get("value", estimate.get("excess_rise"))
    if estimate is None or value is None:
        return
    k = estimate.get("k")
    yield f"{name}@{k}" if k else name, Aside(value=value, ci95=estimate.get("ci95"), n=estimate.get("n"))


def _mean(each: Sequence[Aside]) -> Aside:
    values = [aside.value for aside in each]
    return Aside(value=fmean(values), n=each[0].n, lowest=min(values), highest=max(values))
