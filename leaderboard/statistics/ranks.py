"""Ranks that claim no more than was measured: ranges, which overlap for rows that cannot be told apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.leaderboard.statistics.multiplicity import holm


@dataclass(frozen=True, slots=True)
class RankComparison:
    """One row against another on the same items."""

    advantage: float
    """By how much the first is better; negative where it is worse."""
    p: float | None
    """Two-sided; None where the pair could not be compared, which tells nothing apart."""


def surely_better(
    n_rows: int, comparisons: Mapping[tuple[int, int], RankComparison], *, alpha: float = 0.05
) -> list[list[bool]]:
    """Which rows are better than which, with a chance of at most `alpha` that any such claim of the table is wrong.

    Arguments:
        n_rows: rows there are.
        comparisons: one for each pair of rows (a, b) with a < b that can be compared; Holm corrects over all of them.

    Returns:
        Entry [a][b]: row a is surely better than row b.

    Raises:
        ValueError: a pair is not in order or names no row.
    """
    if any(not 0 <= a < b < n_rows for a, b in comparisons):
        raise ValueError(f"pairs of rows are (a, b) with 0 <= a < b < {n_rows}")
    better = [[False] * n_rows for _ in range(n_rows)]
    adjusted = holm([comparison.p for comparison in comparisons.values()])
    for ((a, b), comparison), p in zip(comparisons.items(), adjusted, strict=True):
        if p is not None and p <= alpha:
            first, second = (a, b) if comparison.advantage > 0 else (b, a)
            better[first][second] = True
    return better


def rank_ranges(better: Sequence[Sequence[bool]]) -> list[tuple[int, int]]:
    """Each row's best and worst possible rank: one more than the rows that are surely better, and as many rows as there
    are less those that are surely worse (Mogstad, Romano, Shaikh and Wilhelm 2024).

    A single number would differ between equal rows in 10 to 50 % of pairs, as third rows are just told from one of
    them and not from the other; ranges of equal rows are apart only where some claim is wrong. What follows from sure
    claims is sure too: if A is better than B and B than C, then A is better than C, whether or not those two were told
    apart; no further chance of error comes in, as all claims hold at once with Holm's confidence.

    Arguments:
        better: entry [a][b]: row a is surely better than row b.

    Raises:
        ValueError: the claims go round in a circle, or the matrix is not square.

    Reference: Mogstad et al. 2024, Review of Economic Studies 91, 476-518.
    """
    n = len(better)
    if any(len(row) != n for row in better):
        raise ValueError("every row is compared with every row")
    above = [list(row) for row in better]
    for via in range(n):
        for a in range(n):
            if above[a][via]:
                above[a] = [is_above or follows for is_above, follows in zip(above[a], above[via], strict=True)]
    if any(above[a][a] for a in range(n)):
        raise ValueError("rows cannot be better than each other in a circle")
    return [(1 + sum(above[a][b] for a in range(n)), n - sum(above[b])) for b in range(n)]


def rank_labels(ranges: Sequence[tuple[int, int]]) -> list[str]:
    """As a board shows them: "1–3" or "2"."""
    return [str(first) if first == last else f"{first}–{last}" for first, last in ranges]
