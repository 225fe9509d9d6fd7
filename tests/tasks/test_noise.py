from __future__ import annotations

from itertools import pairwise

import pytest

from bench.core.errors import UsageError
from bench.core.values import PreferencePair
from tasks.noise import NOISE_MODELS, corrupt, flipped_indices

PAIRS = [PreferencePair(f"prompt {i}", f" good {i}", f" bad {i}", margin=i / 100) for i in range(40)]
RATES = [0.0, 0.1, 0.25, 0.3, 0.5, 0.9, 1.0]


@pytest.mark.parametrize("model", NOISE_MODELS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_model_is_nested_in_the_rate_and_leaves_the_other_pairs_alone(model: str, seed: int) -> None:
    corruptions = [corrupt(PAIRS, model=model, rate=rate, seed=seed) for rate in RATES]
    for rate, corruption in zip(RATES, corruptions, strict=True):
        assert len(corruption.indices) == round(rate * len(PAIRS))
        assert list(corruption.indices) == sorted(set(corruption.indices))
        changed = [i for i, (clean, noisy) in enumerate(zip(PAIRS, corruption.pairs, strict=True)) if clean != noisy]
        assert changed == list(corruption.indices)
    for smaller, larger in pairwise(corruptions):
        assert set(smaller.indices) <= set(larger.indices)


def test_a_flip_swaps_the_sides_and_the_sign_of_the_margin() -> None:
    corruption = corrupt(PAIRS, model="flip", rate=1.0, seed=0)
    assert corruption.pairs[7] == PreferencePair("prompt 7", " bad 7", " good 7", margin=-0.07)


def test_seeds_flip_different_pairs() -> None:
    assert flipped_indices(PAIRS, 0.3, 0) != flipped_indices(PAIRS, 0.3, 1)


def test_flips_belong_to_the_pairs_and_not_to_their_places() -> None:
    flipped = {PAIRS[index] for index in flipped_indices(PAIRS, 0.3, 5)}
    backwards = PAIRS[::-1]
    assert {backwards[index] for index in flipped_indices(backwards, 0.3, 5)} == flipped


def test_margins_do_not_decide_which_pairs_flip() -> None:
    bare = [PreferencePair(pair.prompt, pair.chosen, pair.rejected) for pair in PAIRS]
    assert flipped_indices(bare, 0.3, 5) == flipped_indices(PAIRS, 0.3, 5)


def test_more_pairs_keep_the_order_in_which_pairs_flip() -> None:
    few, many = flipped_indices(PAIRS[:20], 0.5, 5), flipped_indices(PAIRS, 1.0, 5)
    assert set(few) <= set(many)
    order = [len(flipped_indices(PAIRS, k / 40, 5)) for k in range(41)]
    assert order == list(range(41))
    turn = {index: k for k in range(40, 0, -1) for index in flipped_indices(PAIRS, k / 40, 5)}
    assert set(few) == set(sorted(range(20), key=lambda index: turn[index])[:10])


def test_repeats_of_one_pair_flip_independently() -> None:
    repeated = PAIRS[:1] * 200
    assert len(flipped_indices(repeated, 0.5, 0)) == 100
    assert flipped_indices(repeated, 0.5, 0) != tuple(range(100))


def test_each_pair_flips_as_often_as_the_rate_says() -> None:
    counts = [0] * len(PAIRS)
    for seed in range(1000):
        for index in flipped_indices(PAIRS, 0.3, seed):
            counts[index] += 1
    assert min(counts) > 230 and max(counts) < 370  # 300 expected, standard deviation 14


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_a_rate_outside_its_range_is_refused(rate: float) -> None:
    with pytest.raises(UsageError, match=r"outside \[0, 1\]"):
        corrupt(PAIRS, model="flip", rate=rate, seed=0)


def test_an_unknown_model_is_refused_with_a_near_name() -> None:
    with pytest.raises(UsageError, match="unknown noise model 'flips'; did you mean 'flip'"):
        corrupt(PAIRS, model="flips", rate=0.1, seed=0)
