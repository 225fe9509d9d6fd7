"""Holm's adjustment, held to values worked out by hand."""

from __future__ import annotations

import random

import pytest

from bench.leaderboard.statistics.multiplicity import holm


def test_known_answer() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1; the last may not fall below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_one_test_needs_no_adjustment_and_none_gives_none() -> None:
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


def test_ties_and_the_bound() -> None:
    assert holm([0.5, 0.5, 0.9]) == [1.0, 1.0, 1.0]
    assert holm([0.02, 0.02]) == pytest.approx([0.04, 0.04])


def test_it_lies_between_no_adjustment_and_bonferroni_and_keeps_the_order() -> None:
    chance = random.Random(3)
    for _ in range(50):
        raw = [chance.random() ** 3 for _ in range(chance.randint(1, 9))]
        adjusted = holm(raw)
        assert all(p <= q <= min(1, len(raw) * p) + 1e-12 for p, q in zip(raw, adjusted, strict=True))
        assert [q for _, q in sorted(zip(raw, adjusted, strict=True))] == sorted(adjusted)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, wrong])
