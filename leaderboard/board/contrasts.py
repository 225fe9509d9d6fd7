"""Methods against each other: every two rows that were given the same pairs and the same noise."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import combinations

from bench.core.values import Metric
from bench.leaderboard.board.degenerate import out_of_running
from bench.leaderboard.board.holm import holm_adjusted
from bench.leaderboard.board.noise import NoisePoint, Twins, noise_points
from bench.leaderboard.board.pairing import UnpairedError, gain_sheet, is_exponential, make_strata, minus
from bench.leaderboard.board.ranking import MetricsBySeed
from bench.leaderboard.board.scores import paired_change, strata_change
from bench.leaderboard.board.values import Change, MethodContrast, Row
from bench.leaderboard.records.conditions import Condition
from bench.leaderboard.statistics.retention import retained_difference

MOST_ROWS = 12
"""Of one condition: of more there are so many pairs that hardly any is told apart, and nobody reads them."""
MOST_PAIRS = 500
"""Of all conditions: Holm's correction is over all of them."""


def make_contrasts(
    rows: Sequence[Row],
    measured: Sequence[MetricsBySeed],
    base: Mapping[str, Metric],
    conditions: Sequence[Condition | None],
    twins: Twins,
) -> dict[str, tuple[MethodContrast, ...]]:
    """By metric every two rows of one condition that share items and seeds.

    Arguments:
        rows: with what noise did to each.
        measured: what each row is made of.
        base: the unaligned model's metrics.
        conditions: what each row was given; None for base and what is compared with nothing.
    """
    families: dict[Condition, list[int]] = {}
    for index, condition in enumerate(conditions):
        if condition is not None:
            families.setdefault(condition, []).append(index)
    pairs = [pair for family in families.values() if len(family) <= MOST_ROWS for pair in combinations(family, 2)]
    if len(pairs) > MOST_PAIRS:
        return {}
    names = {name: None for metrics in measured for name in metrics}
    found = {name: _of_metric(name, pairs, rows, measured, base.get(name), twins) for name in names}
    return {name: contrasts for name, contrasts in found.items() if contrasts}


def _of_metric(
    name: str,
    pairs: Sequence[tuple[int, int]],
    rows: Sequence[Row],
    measured: Sequence[MetricsBySeed],
    base: Metric | None,
    twins: Twins,
) -> tuple[MethodContrast, ...]:
    out = {index for index, row in enumerate(rows) if out_of_running(row, name)}
    points = noise_points(name, rows, measured, twins)
    contrasts: dict[tuple[int, int], MethodContrast] = {}
    for pair in pairs:
        if out.isdisjoint(pair) and all(name in measured[index] for index in pair):
            with suppress(UnpairedError):
                gap = paired_gap(*(measured[index][name] for index in pair))
                contrasts[pair] = MethodContrast(
                    first=pair[0],
                    second=pair[1],
                    gap=gap,
                    **_by_noise(name, [rows[index] for index in pair], [points.get(index) for index in pair], base),
                )
    gaps = holm_adjusted({pair: contrast.gap for pair, contrast in contrasts.items()})
    by_noise = holm_adjusted({pair: contrast.by_noise for pair, contrast in contrasts.items()})
    return tuple(
        contrast.model_copy(
            update={"gap": gaps.get(pair, contrast.gap), "by_noise": by_noise.get(pair, contrast.by_noise)}
        )
        for pair, contrast in contrasts.items()
    )


def paired_gap(a: Mapping[int, Metric], b: Mapping[int, Metric]) -> Change:
    """A less B, each by seed, over the seeds that both have.

    Raises:
        UnpairedError: the two have too few seeds or no item in common.
    """
    a, b = ({seed: metric for seed, metric in of.items() if metric.value is not None} for of in (a, b))
    seeds = sorted(a.keys() & b.keys())
    if len(seeds) < max(1, min(2, len(a), len(b))):  # of one seed of several nothing would be known of seeds
        raise UnpairedError("too few seeds were run for both")
    return paired_change([a[seed] for seed in seeds], [b[seed] for seed in seeds])


def _by_noise(
    name: str, rows: Sequence[Row], points: Sequence[NoisePoint | None], base: Metric | None
) -> dict[str, object]:
    """What the noise did to the first less what it did to the second, and the shares that they retain, likewise."""
    nothing: dict[str, object] = {"by_noise": None, "retained": None, "retained_ci95": None}
    a, b = points
    seeds = sorted(a.clean.keys() & b.clean.keys()) if a and b else []
    if a is None or b is None or base is None or is_exponential(base) or not seeds or a.degenerate or b.degenerate:
        return nothing
    cells = [[by_seed[seed] for seed in seeds] for by_seed in (a.clean, a.noisy, b.clean, b.noisy)]
    try:
        a_clean, a_noisy, b_clean, b_noisy = map(make_strata, cells)
        difference = strata_change(minus(a_noisy, a_clean), minus(b_noisy, b_clean), of=base)
    except UnpairedError:
        return nothing
    effects = [row.scores[name].noise for row in rows]
    both_retain = all(effect is not None and effect.retained is not None for effect in effects)
    shares = retained_difference(gain_sheet(base, cells)) if both_retain else None
    return {
        "by_noise": difference,
        "retained": shares.value if shares else None,
        "retained_ci95": shares.bounds if shares else None,
    }
