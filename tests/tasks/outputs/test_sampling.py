from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pytest
import torch
from scipy.stats import chisquare

from bench.tasks.outputs.continuations import GeneratedRow, GenerationSettings
from bench.tasks.outputs.sampling import BLOCK, SeededSampling, draw_tokens, row_seed

DRAWS = 20_000
SURPRISING = 1e-3
"""Chi-square of less probability would be a wrong distribution; seeds are fixed, so that a test never fails by chance.
"""
TINY = [2.0, 1.0, float("-inf"), 1.0, 0.0, -1.0, 0.5]


def sampled(logits: Sequence[float], temperature: float, top_p: float, draws: int = DRAWS) -> torch.Tensor:
    """How often each token is drawn by rows that differ in their sample's number alone."""
    rows = [GeneratedRow(index, "prompt", index, [0]) for index in range(draws)]
    settings = GenerationSettings(temperature=temperature, top_p=top_p)
    scores = torch.tensor(logits).repeat(draws, 1)
    chosen = SeededSampling(rows, settings, seed=0)(torch.zeros(draws, 1, dtype=torch.long), scores).argmax(dim=-1)
    return torch.bincount(chosen, minlength=len(logits))


def nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """Which tokens are in it, by sorting: of equally likely ones the first come first."""
    ordered, order = probabilities.sort(descending=True, stable=True)
    inside = ordered.cumsum(0) - ordered < top_p
    return torch.zeros_like(inside).scatter_(0, order, inside)


def fitting(counts: torch.Tensor, probabilities: torch.Tensor) -> float:
    """The probability of counts as far from these probabilities, of those tokens that can occur at all."""
    possible = probabilities > 0
    assert counts[~possible].sum() == 0
    expected = probabilities[possible] / probabilities[possible].sum() * counts.sum()
    return float(chisquare(counts[possible].numpy(), expected.numpy()).pvalue)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("top_p", [0.05, 0.6, 0.9, 1.0])
def test_tokens_are_drawn_with_the_probabilities_of_the_softmax_within_the_nucleus(
    temperature: float, top_p: float
) -> None:
    probabilities = torch.softmax(torch.tensor(TINY).double() / temperature, dim=-1)
    expected = torch.where(nucleus(probabilities, top_p), probabilities, 0.0)
    counts = sampled(TINY, temperature, top_p)
    if (expected > 0).sum() == 1:
        assert counts[0] == DRAWS
    else:
        assert fitting(counts, expected) > SURPRISING


def test_a_vocabulary_of_several_blocks_is_drawn_from_as_a_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2 * BLOCK + 100, generator=generator)
    counts = sampled(logits.tolist(), 1.0, 1.0, 30_000)
    assert fitting(counts, torch.softmax(logits.double(), dim=-1)) > SURPRISING
    inside = nucleus(torch.softmax(logits, dim=-1), 0.8)
    narrow = sampled(logits.tolist(), 1.0, 0.8, 30_000)
    assert fitting(narrow, torch.softmax(logits.double(), dim=-1) * inside) > SURPRISING


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, 2 * BLOCK + 77])
def test_the_nucleus_is_the_smallest_set_that_reaches_top_p_ties_included(size: int, top_p: float) -> None:
    """Each token is drawn first once: it stands if it is in the nucleus, and gives way to one that is if not."""
    generator = torch.Generator().manual_seed(size)
    logits = (2 * torch.randn(size, generator=generator)).bfloat16().float()  # as coarse as a model's: ties abound
    assert len(logits.unique()) < size
    probabilities = torch.softmax(logits.double(), dim=-1)
    middles = probabilities.cumsum(0) - probabilities / 2
    first = [itertools.chain([float(middle)], itertools.repeat(0.5)).__next__ for middle in middles]
    tokens = draw_tokens(logits.repeat(size, 1), first, 1.0, top_p)
    inside = nucleus(probabilities, top_p)
    assert torch.equal(tokens == torch.arange(size), inside)
    assert inside[tokens].all()


def test_equally_likely_tokens_are_in_the_nucleus_by_their_order() -> None:
    counts = sampled([0.0] * 8, 1.0, 0.5, 2000)
    assert (counts > 0).tolist() == [True] * 4 + [False] * 4


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
@pytest.mark.parametrize("top_p", [0.9, 1.0])
def test_a_token_without_probability_is_not_drawn_at_either_end(number: float, top_p: float) -> None:
    nothing = float("-inf")
    logits = torch.full((1, BLOCK + 3), nothing)
    logits[0, [1, BLOCK]] = torch.tensor([0.0, -0.5])
    token = draw_tokens(logits, [lambda: number], 1.0, top_p)
    assert token.item() == (1 if number == 0 else BLOCK)


def test_numbers_that_are_not_finite_give_some_token() -> None:
    logits = torch.full((2, 5), float("nan"))
    logits[1] = float("-inf")
    assert all(0 <= token < 5 for token in draw_tokens(logits, [lambda: 0.5, lambda: 0.5], 1.0, 0.9).tolist())


def numbers_used(top_p: float) -> int:
    used = 0

    def counted() -> Iterator[float]:
        nonlocal used
        for number in itertools.cycle([0.999, 0.5]):
            used += 1
            yield number

    draw_tokens(torch.tensor([TINY]), [counted().__next__], 1.0, top_p)
    return used


def test_one_number_is_drawn_a_token_and_more_only_outside_of_a_nucleus() -> None:
    assert numbers_used(1.0) == 1
    assert numbers_used(0.6) > 1


def test_row_seeds_name_one_text_each() -> None:
    seeds = {row_seed(seed, prompt, sample) for seed in (0, 1) for prompt in ("a", "b") for sample in (0, 1, 10)}
    assert len(seeds) == 12
    assert all(0 <= seed < 2**63 for seed in seeds)
