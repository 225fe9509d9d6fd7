from __future__ import annotations

import pytest

from bench.core.errors import UsageError
from bench.tasks.preferences.subsample import subsample


@pytest.mark.parametrize("seed", [0, 1, -7, 2**70])
def test_a_smaller_subsample_is_a_prefix_of_a_larger_one(seed: int) -> None:
    everything = subsample(100, None, seed)
    assert sorted(everything) == list(range(100))
    for n in (1, 50, 99, 100):
        assert subsample(100, n, seed) == everything[:n]


def test_the_permutation_is_the_same_on_every_machine() -> None:
    assert subsample(10, None, 0) == (3, 4, 9, 5, 2, 1, 7, 8, 0, 6)


def test_a_longer_range_keeps_the_order_of_a_shorter_one() -> None:
    longer = subsample(120, None, 3)
    assert tuple(index for index in longer if index < 100) == subsample(100, None, 3)


def test_seeds_give_unrelated_subsamples() -> None:
    shared = len(set(subsample(1000, 100, 0)) & set(subsample(1000, 100, 1)))
    assert 0 < shared < 30  # 10 expected by chance


def test_every_index_is_as_likely_as_another() -> None:
    counts = [0] * 20
    for seed in range(2000):
        for index in subsample(20, 5, seed):
            counts[index] += 1
    assert min(counts) > 400 and max(counts) < 600  # 500 expected, standard deviation 19


def test_more_than_there_are_is_refused_with_both_numbers() -> None:
    with pytest.raises(UsageError, match=r"asked for 11 pairs, but there are only 10"):
        subsample(10, 11, 0)


@pytest.mark.parametrize("n", [0, -1])
def test_no_pairs_at_all_are_refused(n: int) -> None:
    with pytest.raises(UsageError, match=f"asked for {n} pairs"):
        subsample(10, n, 0)
