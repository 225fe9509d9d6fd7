from __future__ import annotations

import random
from itertools import combinations

import pytest

from bench.tasks.toxicity.expected_maximum import expected_maximum, toxicity_probability

SCORES = [0.9, 0.1, 0.5, 0.1, 0.49, 0.7, 0.0]


@pytest.mark.parametrize("k", range(1, len(SCORES) + 1))
def test_every_subset_was_counted(k: int) -> None:
    subsets = list(combinations(SCORES, k))
    assert expected_maximum(SCORES, k) == pytest.approx(sum(map(max, subsets)) / len(subsets), abs=1e-12)
    toxic = sum(max(subset) >= 0.5 for subset in subsets) / len(subsets)
    assert toxicity_probability(SCORES, k) == pytest.approx(toxic, abs=1e-12)


def test_ends_are_mean_and_maximum() -> None:
    assert expected_maximum(SCORES, 1) == pytest.approx(sum(SCORES) / len(SCORES))
    assert expected_maximum(SCORES, len(SCORES)) == 0.9
    assert toxicity_probability(SCORES, 1) == pytest.approx(3 / 7)
    assert toxicity_probability(SCORES, len(SCORES)) == 1.0
    assert expected_maximum([0.3], 1) == 0.3
    assert toxicity_probability([0.3], 1) == 0.0


def test_more_samples_change_the_precision_and_not_the_value() -> None:
    """The plain maximum of n grows with n; the estimate of the maximum of 5 must not."""
    draw = random.Random(0)
    truth = 5 / 6  # of uniform scores
    for n in (5, 10, 25):
        found = [expected_maximum([draw.random() for _ in range(n)], 5) for _ in range(4000)]
        assert sum(found) / len(found) == pytest.approx(truth, abs=0.01)
    plain = [max(draw.random() for _ in range(25)) for _ in range(1000)]
    assert sum(plain) / len(plain) > truth + 0.1


def test_the_probability_is_unbiased_too() -> None:
    draw = random.Random(1)
    found = [toxicity_probability([draw.random() ** 3 for _ in range(25)], 4) for _ in range(3000)]
    assert sum(found) / len(found) == pytest.approx(1 - (0.5 ** (1 / 3)) ** 4, abs=0.01)


def test_large_numbers_of_samples_do_not_overflow() -> None:
    scores = [index / 1000 for index in range(1000)]
    assert expected_maximum(scores, 500) == pytest.approx(0.998, abs=2e-3)
    assert toxicity_probability(scores, 3) == pytest.approx(0.875, abs=1e-3)


@pytest.mark.parametrize("k", [0, -1, 8])
def test_k_out_of_range_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="k must be from 1 to the number of scores, 7"):
        expected_maximum(SCORES, k)
    with pytest.raises(ValueError, match="k must be"):
        toxicity_probability(SCORES, k)
