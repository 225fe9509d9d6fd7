from __future__ import annotations

from itertools import pairwise

import pytest

from bench.core.errors import UsageError
from bench.core.values import PreferencePair
from bench.tasks.preferences.noise.models import NOISE_MODELS, Corruption, corrupt, drop_corrupted, flipped_indices
from bench.tasks.preferences.noise.texts import EDITS, near_copy

PAIRS = [PreferencePair(f"prompt {i}", f" good {i}", f" bad {i}", margin=i / 100) for i in range(40)]
RATES = [0.0, 0.1, 0.25, 0.3, 0.5, 0.9, 1.0]
LARGEST = {"flip-one-sided": 0.5, "duplicate": 0.975}
NEEDS_MARGINS = ["flip-near-ties", "flip-one-sided", "flip-adversarial"]
BARE = [PreferencePair(pair.prompt, pair.chosen, pair.rejected) for pair in PAIRS]


def possible(model: str) -> list[float]:
    return [rate for rate in RATES if rate <= LARGEST.get(model, 1.0)]


@pytest.mark.parametrize("model", NOISE_MODELS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_model_is_nested_in_the_rate_and_leaves_the_other_pairs_alone(model: str, seed: int) -> None:
    corruptions = [corrupt(PAIRS, model=model, rate=rate, seed=seed) for rate in possible(model)]
    for rate, corruption in zip(possible(model), corruptions, strict=True):
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


def test_which_pairs_flip_is_the_same_on_every_machine_and_in_every_version() -> None:
    assert flipped_indices(PAIRS, 0.3, 5) == (2, 3, 7, 9, 10, 11, 13, 15, 16, 20, 25, 26)


@pytest.mark.parametrize("model", NOISE_MODELS)
def test_every_model_goes_by_the_pairs_and_not_by_their_places(model: str) -> None:
    there = corrupt(PAIRS, model=model, rate=0.3, seed=5).pairs
    assert corrupt(PAIRS[::-1], model=model, rate=0.3, seed=5).pairs == there[::-1]


@pytest.mark.parametrize("model", sorted(set(NOISE_MODELS) - {"flip-adversarial"}))
def test_seeds_corrupt_different_pairs(model: str) -> None:
    chosen = {corrupt(PAIRS, model=model, rate=0.3, seed=seed).indices for seed in range(3)}
    assert len(chosen) == 3


@pytest.mark.parametrize("model", NOISE_MODELS)
def test_a_rate_of_no_pair_changes_nothing_and_needs_nothing(model: str) -> None:
    assert corrupt(BARE, model=model, rate=0.0, seed=0) == Corruption(tuple(BARE), ())
    assert corrupt(BARE, model=model, rate=0.01, seed=0).indices == ()
    assert corrupt([], model=model, rate=0.5, seed=0) == Corruption((), ())


@pytest.mark.parametrize("model", NEEDS_MARGINS)
def test_a_model_that_goes_by_margins_says_where_there_are_none(model: str) -> None:
    mixed = [*PAIRS[:30], *BARE[30:]]
    with pytest.raises(UsageError, match=f"'{model}' goes by .* margins, and 10 of the 40 pairs have none; .*file"):
        corrupt(mixed, model=model, rate=0.3, seed=0)


@pytest.mark.parametrize("model", sorted(set(NOISE_MODELS) - set(NEEDS_MARGINS)))
def test_the_other_models_need_no_margins(model: str) -> None:
    assert len(corrupt(BARE, model=model, rate=0.3, seed=0).indices) == 12


@pytest.mark.parametrize(("model", "rate", "largest"), [("flip-one-sided", 0.6, "0.5"), ("duplicate", 1.0, "0.975")])
def test_more_than_a_model_can_corrupt_is_refused_with_the_largest_rate(model: str, rate: float, largest: str) -> None:
    with pytest.raises(UsageError, match=f"of 40 pairs, but .*; the largest possible rate is {largest}$"):
        corrupt(PAIRS, model=model, rate=rate, seed=0)
    assert corrupt(PAIRS, model=model, rate=float(largest), seed=0).indices


def test_near_ties_flip_in_proportion_to_their_chance_of_being_mislabelled() -> None:
    ties = [PreferencePair(f"p{i}", f" good {i}", f" bad {i}", margin=1.0 if i < 20 else -3.0) for i in range(40)]
    # Median |margin| 2, scale 1: 1 / (1 + e) = 0.269 against 1 / (1 + e³) = 0.047. One pair in each draw.
    near = [corrupt(ties, model="flip-near-ties", rate=1 / 40, seed=seed).indices[0] < 20 for seed in range(2000)]
    assert sum(near) / 2000 == pytest.approx(0.269 / (0.269 + 0.047), abs=0.03)  # standard deviation 0.008


def test_where_most_pairs_are_ties_the_others_flip_last() -> None:
    ties = [PreferencePair(f"p{i}", f" good {i}", f" bad {i}", margin=0.0 if i < 30 else 0.5) for i in range(40)]
    assert corrupt(ties, model="flip-near-ties", rate=0.75, seed=0).indices == tuple(range(30))


def test_one_sided_flips_stay_on_their_side_and_are_even_there() -> None:
    counts = [0] * 40
    for seed in range(500):
        for index in corrupt(PAIRS, model="flip-one-sided", rate=0.25, seed=seed).indices:
            counts[index] += 1
    assert sum(counts[20:]) == 0
    assert min(counts[:20]) > 190 and max(counts[:20]) < 310  # 250 expected, standard deviation 11


def test_the_adversary_flips_the_largest_margins_whatever_the_seed() -> None:
    for seed in range(3):
        assert corrupt(PAIRS, model="flip-adversarial", rate=0.1, seed=seed).indices == (36, 37, 38, 39)
    equal = [PreferencePair(f"p{i}", f" good {i}", f" bad {i}", margin=1.0) for i in range(40)]
    assert len({corrupt(equal, model="flip-adversarial", rate=0.1, seed=seed).indices for seed in range(3)}) == 3


def test_a_replaced_text_is_a_clean_one_of_another_prompt_and_the_same_at_every_rate() -> None:
    low, high = (corrupt(PAIRS, model="replace", rate=rate, seed=1) for rate in (0.3, 1.0))
    donors = [int(pair.rejected.removeprefix(" good ")) for pair in high.pairs]
    assert sorted(donors) == list(range(40))  # a derangement: each text once, none at home
    assert all(donor != index for index, donor in enumerate(donors))
    assert {pair.margin for pair in high.pairs} == {None}
    assert all((noisy.prompt, noisy.chosen) == (p.prompt, p.chosen) for noisy, p in zip(high.pairs, PAIRS, strict=True))
    assert all(low.pairs[index] == high.pairs[index] for index in low.indices)


def test_no_text_of_the_same_prompt_or_of_the_pair_itself_replaces_one() -> None:
    pairs = [PreferencePair(f"p{i % 3}", " same" if i < 20 else f" good {i}", f" bad {i}") for i in range(30)]
    by_text = {f" good {i}": f"p{i % 3}" for i in range(20, 30)}
    for pair in corrupt(pairs, model="replace", rate=1.0, seed=0).pairs:
        assert pair.chosen != pair.rejected
        assert by_text.get(pair.rejected, "another") != pair.prompt


def test_pairs_without_prompts_can_be_replaced_and_those_of_one_prompt_cannot() -> None:
    free, bound = ([PreferencePair(prompt, f" good {i}", f" bad {i}") for i in range(5)] for prompt in ("", "p"))
    assert len(corrupt(free, model="replace", rate=1.0, seed=0).indices) == 5
    with pytest.raises(UsageError, match="give pairs of more prompts"):
        corrupt(bound, model="replace", rate=0.2, seed=0)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 0.975])
def test_duplicates_are_copies_of_kept_pairs_and_leave_fewer_distinct_ones(rate: float) -> None:
    corruption = corrupt(PAIRS, model="duplicate", rate=rate, seed=2)
    kept = {pair.prompt: pair for pair in drop_corrupted(corruption)}
    assert corruption.n_distinct == len(kept) == 40 - round(rate * 40)
    for index in corruption.indices:
        copy = corruption.pairs[index]
        original = kept[copy.prompt]
        assert copy not in PAIRS and copy.margin == original.margin
        assert copy.chosen.strip(" .!").casefold().split() == original.chosen.casefold().split()
        assert copy.rejected.strip(" .!").casefold().split() == original.rejected.casefold().split()
        assert copy.chosen.startswith(" ") and copy.rejected.startswith(" ")


def test_a_copy_stays_the_same_while_its_original_is_kept() -> None:
    low, high = (corrupt(PAIRS, model="duplicate", rate=rate, seed=2) for rate in (0.2, 0.4))
    gone = {PAIRS[index].prompt for index in high.indices}
    stays = [index for index in low.indices if low.pairs[index].prompt not in gone]
    assert stays and all(low.pairs[index] == high.pairs[index] for index in stays)


@pytest.mark.parametrize("text", ["a", " Yes.", "!", " 12 34", " two words", "ß"])
@pytest.mark.parametrize("byte", range(len(EDITS)))
def test_a_near_copy_differs_and_keeps_its_sides_apart(text: str, byte: int) -> None:
    copy = near_copy(PreferencePair("p", text, f"{text}!"), bytes([byte, byte]) * 16)
    assert copy.chosen != text and copy.chosen.strip() and copy.chosen.strip() != copy.rejected.strip()


@pytest.mark.parametrize("model", NOISE_MODELS)
def test_an_oracle_trains_on_the_clean_pairs_that_are_left(model: str) -> None:
    corruption = corrupt(PAIRS, model=model, rate=0.3, seed=4)
    assert drop_corrupted(corruption) == tuple(p for i, p in enumerate(PAIRS) if i not in corruption.indices)


def test_an_oracle_with_no_pairs_left_is_refused() -> None:
    with pytest.raises(UsageError, match="all 40 pairs are corrupted"):
        drop_corrupted(corrupt(PAIRS, model="flip", rate=1.0, seed=0))
