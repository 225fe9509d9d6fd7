"""Paired tests, held to values worked out by hand and to their own claim under the null."""

from __future__ import annotations

import random

import pytest

from bench.leaderboard.statistics.permutation import sign_flip_p


def test_few_items_are_gone_through_exactly() -> None:
    assert sign_flip_p([1, 1, 1, 1, 1]) == 2 / 32  # all up or all down
    assert sign_flip_p([3, -1]) == 1.0  # the sums are ±2 and ±4, and all reach as far as 2


def test_exact_counts_assignments_that_reach_as_far() -> None:
    # Sums of ±1 ±2 ±4 are -7, -5, …, 7; the sum that was seen is 5, which ±5 and ±7 reach: 4 of 8.
    assert sign_flip_p([-1, 2, 4]) == 4 / 8


def test_items_that_agree_change_nothing() -> None:
    assert sign_flip_p([0.0] * 40) == 1.0
    assert sign_flip_p([0.0] * 40 + [1, 1, 1]) == sign_flip_p([1, 1, 1]) == 2 / 8


def test_many_items_are_drawn_and_repeat_themselves() -> None:
    chance = random.Random(1)
    shifted = [chance.gauss(0.5, 1) for _ in range(200)]
    assert sign_flip_p(shifted) == sign_flip_p(shifted) == 1 / 10_001
    centred = [chance.gauss(0, 1) for _ in range(200)]
    assert sign_flip_p(centred, draws=500) > 1 / 501


def test_drawn_and_exact_agree() -> None:
    chance = random.Random(2)
    pulls = [chance.gauss(0.3, 1) for _ in range(14)]
    # A fifteenth item of no weight to speak of makes the test draw.
    assert sign_flip_p([*pulls, 1e-9]) == pytest.approx(sign_flip_p(pulls), abs=0.02)


def test_under_the_null_it_rejects_as_often_as_it_says() -> None:
    chance = random.Random(4)
    rejected = sum(sign_flip_p([chance.gauss(0, 1) for _ in range(12)]) <= 0.05 for _ in range(400))
    assert 8 <= rejected <= 34  # 20 expected, 3 standard deviations either way
