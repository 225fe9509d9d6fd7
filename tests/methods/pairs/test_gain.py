"""The share of pairs that judges, and what judging comes to."""

from __future__ import annotations

import math

import pytest

from bench.core.values import PreferencePair
from bench.methods.pairs.completions import Completion, PairTokens
from bench.methods.pairs.gain import held_out_gain, share_by_prompt


def pairs(count: int, per_prompt: int = 1) -> list[PreferencePair]:
    return [PreferencePair(f"prompt {row // per_prompt}", "a", "b") for row in range(count)]


@pytest.mark.parametrize(("count", "share", "expected"), [(20, 0.25, 5), (20, 0.5, 10), (7, 0.01, 1), (7, 0.999, 6)])
def test_a_share_is_as_large_as_asked_and_never_all(count: int, share: float, expected: int) -> None:
    rows = share_by_prompt(pairs(count), share, seed=0)
    assert len(rows) == expected
    assert rows == sorted(set(rows))
    assert set(rows) <= set(range(count))


def test_a_share_is_seeded() -> None:
    assert share_by_prompt(pairs(30), 0.3, seed=1) == share_by_prompt(pairs(30), 0.3, seed=1)
    assert share_by_prompt(pairs(30), 0.3, seed=1) != share_by_prompt(pairs(30), 0.3, seed=2)


def test_prompts_are_not_split_where_there_are_two() -> None:
    rows = share_by_prompt(pairs(30, per_prompt=5), 0.3, seed=0)
    assert len(rows) == 10
    assert {row // 5 for row in rows}.isdisjoint({row // 5 for row in range(30) if row not in rows})
    assert len(share_by_prompt(pairs(30, per_prompt=30), 0.3, seed=0)) == 9


def test_a_flipped_pair_counts_against_what_a_right_one_counts_for() -> None:
    good, bad = Completion((1,), (2, 3)), Completion((1,), (4,))
    right, wrong = (PairTokens(good, bad, False, False), PairTokens(bad, good, False, False))
    before, after = {good: -5.0, bad: -2.0}, {good: -4.0, bad: -3.5}
    agreed = held_out_gain([right, right], before, after, beta=0.1)
    assert agreed.margin == pytest.approx(2.5)
    assert agreed.gain == pytest.approx(math.log(2) - math.log1p(math.exp(-0.25)))
    assert agreed.stderr == 0
    assert agreed.cost == pytest.approx(0.5 / 3)
    assert agreed.proven
    mixed = held_out_gain([right, wrong], before, after, beta=0.1)
    assert mixed.margin == 0
    assert mixed.gain < 0  # concave: moving both completions about is charged for
    assert not mixed.proven
