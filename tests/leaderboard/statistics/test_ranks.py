"""Ranks that share, the non-transitive cases among them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from bench.leaderboard.statistics.means import p_values
from bench.leaderboard.statistics.panel import sheet
from bench.leaderboard.statistics.ranks import RankComparison, rank_labels, rank_ranges, surely_better
from bench.leaderboard.statistics.seeds import seeded_difference


def matrix(n: int, *claims: tuple[int, int]) -> list[list[bool]]:
    return [[(a, b) in claims for b in range(n)] for a in range(n)]


def test_two_tied_rows_and_a_third_below_both():
    ranks = rank_ranges(matrix(3, (0, 2), (1, 2)))
    assert ranks == [(1, 2), (1, 2), (3, 3)]
    assert rank_labels(ranks) == ["1–2", "1–2", "3"]


def test_without_any_claim_each_may_have_any_rank():
    assert rank_labels(rank_ranges(matrix(4))) == ["1–4"] * 4
    assert rank_labels(rank_ranges(matrix(1))) == ["1"]
    assert rank_ranges([]) == []


def test_a_row_between_two_that_differ_may_be_anywhere():
    """A is surely better than C; B cannot be told from either."""
    assert rank_labels(rank_ranges(matrix(3, (0, 2)))) == ["1–2", "1–3", "2–3"]


def test_what_follows_from_sure_claims_is_sure():
    """C and D are better than A, and A than B; that C and B were not told apart must not put B above A."""
    assert rank_ranges(matrix(4, (2, 0), (3, 0), (0, 1))) == [(3, 3), (4, 4), (1, 2), (1, 2)]


def test_a_row_always_ranks_above_those_that_it_is_surely_better_than():
    chance = random.Random(0)
    for _ in range(200):
        n = chance.randint(2, 7)
        claims = [(a, b) for a in range(n) for b in range(a + 1, n) if chance.random() < 0.3]
        ranks = rank_ranges(matrix(n, *claims))
        assert all(ranks[a][0] < ranks[b][0] and ranks[a][1] < ranks[b][1] for a, b in claims)
        assert min(ranks)[0] == 1 and max(last for _, last in ranks) == n


@pytest.mark.parametrize("claims", [[(0, 1), (1, 0)], [(0, 1), (1, 2), (2, 0)], [(1, 1)]])
def test_claims_in_a_circle_are_refused(claims):
    with pytest.raises(ValueError, match="circle"):
        rank_ranges(matrix(3, *claims))
    with pytest.raises(ValueError, match="every row"):
        rank_ranges([[False, True]])


def test_holm_corrects_over_the_table():
    found = {(0, 1): RankComparison(0.2, 0.02), (0, 2): RankComparison(-0.3, 0.01), (1, 2): RankComparison(-0.1, None)}
    better = surely_better(3, found)
    assert better == matrix(3, (0, 1), (2, 0))  # 0.01 × 2 and 0.02 × 1; the third pair was not compared
    assert surely_better(3, {**found, (0, 1): RankComparison(0.2, 0.06)}) == matrix(3, (2, 0))
    with pytest.raises(ValueError, match="a < b"):
        surely_better(3, {(1, 0): RankComparison(0.2, 0.02)})


def test_rows_that_are_alike_are_seldom_told_apart():
    """Five equal rows, 400 tables: any claim at all is wrong, and at most 5 % of tables may make one."""
    rng, wrong = np.random.default_rng(1), 0
    pairs = [(a, b) for a in range(5) for b in range(a + 1, 5)]
    for _ in range(400):
        rows = rng.normal(0, 1, (5, 3, 60)) + rng.normal(0, 0.2, (5, 3, 1))
        ps = p_values(sheet([rows[a] - rows[b] for a, b in pairs]))
        claims = surely_better(5, {pair: RankComparison(1.0, p) for pair, p in zip(pairs, ps, strict=True)})
        wrong += any(map(any, claims))
    assert wrong / 400 <= 0.075


def test_a_planted_order_is_found():
    rng = np.random.default_rng(3)
    rows = rng.normal(0, 0.5, (4, 5, 200)) + np.array([0.0, 1.0, 1.0, 3.0])[:, None, None]
    found = {(a, b): seeded_difference(rows[a], rows[b]) for a in range(4) for b in range(a + 1, 4)}
    ranks = rank_ranges(surely_better(4, {p: RankComparison(f.interval.value, f.p) for p, f in found.items()}))
    assert rank_labels(ranks) == ["4", "2–3", "2–3", "1"]


def test_equal_rows_are_shown_apart_in_few_boards():
    """Two groups of four equal rows, of which third rows are often just told from one and not from another: single
    numbers differed between equal rows on nine boards of ten, ranges must overlap on 95 of 100."""
    rng, numbers, ranges = np.random.default_rng(5), 0, 0
    pairs = [(a, b) for a in range(8) for b in range(a + 1, 8)]
    equal = [(a, b) for a, b in pairs if (a < 4) == (b < 4)]
    for _ in range(200):
        rows = rng.normal(0, 0.25, (8, 1, 192)) - np.array([0.0] * 4 + [0.1] * 4)[:, None, None]
        table = sheet([rows[a] - rows[b] for a, b in pairs])
        found = {p: RankComparison(float(m), q) for p, m, q in zip(pairs, table.means, p_values(table), strict=True)}
        ranks = rank_ranges(surely_better(8, found))
        numbers += any(ranks[a][0] != ranks[b][0] for a, b in equal)
        ranges += any(ranks[a][1] < ranks[b][0] or ranks[b][1] < ranks[a][0] for a, b in equal)
    assert ranges / 200 <= 0.05 < 0.2 < numbers / 200
