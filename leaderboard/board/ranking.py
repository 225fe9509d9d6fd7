"""Places in a column among rows of the same pairs and noise: those that cannot be told apart on the same items share
one."""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bench.core.values import Metric
from bench.leaderboard.board.degenerate import out_of_running
from bench.leaderboard.board.pairing import Strata, UnpairedError, join_seeds, make_sheet, make_strata, minus, spreads
from bench.leaderboard.board.values import Row
from bench.leaderboard.records.conditions import Condition
from bench.leaderboard.statistics.means import p_values
from bench.leaderboard.statistics.ranks import RankComparison, rank_labels, rank_ranges, surely_better

MetricsBySeed = Mapping[str, Mapping[int, Metric]]
"""What a row is made of: each metric under each seed."""
FEWEST = 3
"""With fewer rows ranks say no more than the change against base does."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A row in one metric."""

    by_seed: Mapping[int, Metric]
    seedless: bool = False
    """Whether the one measurement there is stands beside every seed of others, as base's does."""


def with_ranks(
    rows: Sequence[Row], measured: Sequence[MetricsBySeed], conditions: Sequence[Condition | None]
) -> list[Row]:
    """The rows with their rank in each metric among those of the same pairs and noise, and base; one whose score rests
    on degenerate text has none, nor has base where it stands in several rankings.

    Arguments:
        measured: what each row is made of.
        conditions: what each was given; None for base.
    """
    families = {condition: None for condition in conditions if condition is not None}
    ranked = list(rows)
    for name in {name: None for metrics in measured for name in metrics}:
        contenders = [
            Contender(metrics[name], row.is_base) if name in metrics and not out_of_running(row, name) else None
            for row, metrics in zip(rows, measured, strict=True)
        ]
        (higher_is_better, *_) = [m.higher_is_better for by_name in measured for m in by_name.get(name, {}).values()]
        for family in families:
            alike = [
                contender if condition in (None, family) else None
                for contender, condition in zip(contenders, conditions, strict=True)
            ]
            for index, label in enumerate(rank(alike, higher_is_better=higher_is_better)):
                if label is not None and (conditions[index] is not None or len(families) == 1):
                    row = ranked[index]
                    score = row.scores[name].model_copy(update={"rank": label})
                    ranked[index] = row.model_copy(update={"scores": {**row.scores, name: score}})
    return ranked


def rank(contenders: Sequence[Contender | None], *, higher_is_better: bool) -> list[str | None]:
    """Labels such as "1–2", "1–2", "3" (`bench.leaderboard.statistics.ranks`), from all pairs, Holm-corrected over all.

    Two rows are compared on the items and the seeds that both have; where both have several seeds, but share fewer than
    two, they are not, as nothing would be known of seeds. Rows that cannot be compared are not told apart.

    Arguments:
        contenders: one a row; None for one that must not be ranked.

    Returns:
        None for rows without items, and where fewer than `FEWEST` rows could be compared.
    """
    labels: list[str | None] = [None] * len(contenders)
    comparisons = _comparisons(contenders, higher_is_better)
    ranked = sorted({index for pair in comparisons for index in pair})
    if len(ranked) < FEWEST:
        return labels
    position = {index: number for number, index in enumerate(ranked)}
    better = surely_better(len(ranked), {(position[a], position[b]): comparisons[a, b] for a, b in comparisons})
    with suppress(ValueError):  # rows measured on different items can beat each other in a circle
        for index, label in zip(ranked, rank_labels(rank_ranges(better)), strict=True):
            labels[index] = label
    return labels


def _comparisons(
    contenders: Sequence[Contender | None], higher_is_better: bool
) -> dict[tuple[int, int], RankComparison]:
    there = {index: contender for index, contender in enumerate(contenders) if contender is not None}
    strata = {index: _by_seed(contender) for index, contender in there.items()}
    batches: dict[Hashable, dict[tuple[int, int], Strata]] = {}
    for a, b in combinations(there, 2):
        matched = _matched(strata[a], strata[b], there[a].seedless, there[b].seedless)
        with suppress(UnpairedError):  # the items are not the same
            if matched:
                difference = join_seeds([minus(*seeds) for seeds in matched], "")
                batches.setdefault(_pattern(difference), {})[a, b] = difference
    comparisons: dict[tuple[int, int], RankComparison] = {}
    for batch in batches.values():
        comparisons |= _tested(batch, higher_is_better)
    return comparisons


def _pattern(difference: Strata) -> Hashable:
    """Equal for differences that one sheet can hold: as many seeds, and the same items measured."""
    return tuple(
        (name, len(part.values), part.ids_sha256, part.weights, np.isnan(part.values).any(axis=0).tobytes())
        for name, part in difference.items()
    )


def _tested(batch: Mapping[tuple[int, int], Strata], higher_is_better: bool) -> dict[tuple[int, int], RankComparison]:
    """Comparisons that one sheet holds, a column each; none where a task has one item only."""
    sheet = make_sheet(list(batch.values()))
    if sheet is None:
        return {}
    sign = 1 if higher_is_better else -1
    with np.errstate(divide="ignore"):  # of a column without spread, whose p-value is not used
        ps = p_values(sheet)
    return {
        pair: RankComparison(advantage=sign * float(mean), p=p if spreads_much else None)
        for pair, mean, p, spreads_much in zip(batch, sheet.means, ps, spreads(sheet), strict=True)
    }


def _by_seed(contender: Contender) -> dict[int, Strata]:
    """Each seed's strata, of those whose items can be used."""
    strata = {}
    for seed, metric in sorted(contender.by_seed.items()):
        with suppress(UnpairedError):
            strata[seed] = make_strata([metric])
    return strata


def _matched(
    a: Mapping[int, Strata], b: Mapping[int, Strata], a_seedless: bool, b_seedless: bool
) -> list[tuple[Strata, Strata]]:
    """The seeds that stand beside each other; none where the two cannot be compared."""
    if not a or not b:
        return []
    if a_seedless:
        return [(next(iter(a.values())), other) for other in b.values()]
    if b_seedless:
        return [(one, next(iter(b.values()))) for one in a.values()]
    shared = sorted(a.keys() & b.keys())
    return [] if len(shared) < min(2, len(a), len(b)) else [(a[seed], b[seed]) for seed in shared]
