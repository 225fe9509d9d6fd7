"""From log-probabilities of pairs, before and after an alignment, to numbers with every pair's own value."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from bench.core.intervals import bootstrap_mean, proportion
from bench.core.values import Items, Metric

BESIDE = ("likelihood", "margin", "margin per token")
"""What there is besides the accuracy of the implicit reward, in order."""


@dataclass(frozen=True, slots=True)
class PairLogps:
    """How likely a model finds the two completions of a pair, given their prompt."""

    chosen: float
    """Log-probability summed over the completion's tokens, in nats."""
    rejected: float
    chosen_tokens: int
    """Tokens that it is summed over."""
    rejected_tokens: int

    @property
    def margin(self) -> float:
        """Log p(chosen) - log p(rejected), in nats."""
        return self.chosen - self.rejected

    @property
    def margin_per_token(self) -> float:
        """The same of log-probabilities divided by their tokens, so that length alone decides nothing."""
        return self.chosen / self.chosen_tokens - self.rejected / self.rejected_tokens

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.chosen) and math.isfinite(self.rejected)


def preference_metrics(
    after: Sequence[PairLogps | None],
    before: Sequence[PairLogps | None] | None,
    *,
    ids_sha256: str,
    counts: Mapping[str, int],
    details: Mapping[str, Any],
) -> tuple[Metric, dict[str, Metric]]:
    """The accuracy of the implicit reward, and what stands beside it, by the names in `BESIDE`.

    The implicit reward of a completion is the rise of its log-probability against the unaligned model (Rafailov et al.
    2023, arXiv 2305.18290, section 4; the factor β decides no comparison). A pair counts 1 where the chosen completion
    rose more, 0 where the rejected one did, and a half where both rose alike: so a model that is as it was has 0.5,
    which is chance.

    Arguments:
        after: of the model, None for a pair that cannot be measured.
        before: of the unaligned model, the same pairs in the same order; None where it is not known, which leaves the
            reward without a value.
        ids_sha256: of the pairs.
        counts: what is wrong with the pairs that cannot be measured.
        details: of all the metrics.

    Returns:
        No metric has a value where the model gives a pair no finite log-probability: to leave the pair out would
        flatter a broken model.
    """
    sides = list(zip(after, before or [None] * len(after), strict=True))
    diverged = sum(any(side is not None and not side.is_finite for side in pair) for pair in sides)
    counts = {**counts, **({"diverged": diverged} if diverged else {})}

    def metric(unit: str, values: Sequence[float | None]) -> Metric:
        values = [None] * len(values) if diverged else values
        return _metric(unit, values, ids_sha256, counts, details)

    def of_model(measure: Callable[[PairLogps], float]) -> list[float | None]:
        return [None if pair is None else measure(pair) for pair in after]

    rises = [None if new is None or old is None else new.margin - old.margin for new, old in sides]
    beside = {
        "likelihood": metric("accuracy of likelihoods", of_model(lambda pair: _share(pair.margin))),
        "margin": metric("nats", of_model(attrgetter("margin"))),
        "margin per token": metric("nats a token", of_model(attrgetter("margin_per_token"))),
    }
    return metric("accuracy of implicit rewards", [None if rise is None else _share(rise) for rise in rises]), beside


def _share(difference: float) -> float:
    """Of a pair: 1 where the chosen side is ahead, 0 where the other is, a half where neither."""
    return 0.5 if difference == 0 else float(difference > 0)


def _metric(
    unit: str,
    values: Sequence[float | None],
    ids_sha256: str,
    counts: Mapping[str, int],
    details: Mapping[str, Any],
) -> Metric:
    measured = [value for value in values if value is not None]
    value = stderr = ci95 = None
    if measured:
        is_share = unit.startswith("accuracy") and set(measured) <= {0.0, 1.0}
        interval = proportion(measured) if is_share else bootstrap_mean(measured)
        value, stderr, ci95 = interval.value, interval.stderr, interval.bounds
    return Metric(
        value=value,
        stderr=stderr,
        ci95=ci95,
        n=len(measured),
        unit=unit,
        higher_is_better=True,
        counts=counts,
        details=details,
        items=Items(ids_sha256=ids_sha256, values=tuple(values)),
    )
