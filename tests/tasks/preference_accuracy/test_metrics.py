"""What log-probabilities of pairs come to: planted ones give the numbers that were planted."""

from __future__ import annotations

import math

import pytest

from bench.core.values import Metric
from bench.leaderboard.board.scores import paired_change
from bench.tasks.preference_accuracy.metrics import BESIDE, PairLogps, preference_metrics


def pair(chosen: float, rejected: float, tokens: tuple[int, int] = (4, 4)) -> PairLogps:
    return PairLogps(chosen, rejected, *tokens)


def measured(after: list[PairLogps | None], before: list[PairLogps | None] | None) -> dict[str, Metric]:
    metric, beside = preference_metrics(after, before, ids_sha256="0", counts={"empty": 1}, details={})
    return {"reward": metric, **beside}


BEFORE: list[PairLogps | None] = [pair(-8, -4), pair(-8, -9), pair(-2, -3), None]


def test_a_pair_counts_where_its_chosen_side_rose_more_than_the_rejected_one() -> None:
    after: list[PairLogps | None] = [pair(-7, -4), pair(-9, -9), pair(-2, -3), None]  # rose, fell, as it was
    found = measured(after, BEFORE)["reward"]
    assert found.items is not None
    assert found.items.values == (1.0, 0.0, 0.5, None)
    assert (found.value, found.n, found.unit) == (0.5, 3, "accuracy of implicit rewards")


def test_a_model_that_is_as_it_was_is_at_chance() -> None:
    found = measured(BEFORE, BEFORE)["reward"]
    assert (found.value, found.ci95) == (0.5, None)


def test_likelihood_and_margins_are_of_the_model_itself() -> None:
    found = measured([pair(-8, -4, (8, 2)), pair(-6, -9, (2, 3))], [pair(-1, -1), pair(-1, -1)])
    assert found.keys() - {"reward"} == set(BESIDE)
    assert found["likelihood"].value == 0.5
    assert found["margin"].value == pytest.approx((-4 + 3) / 2)
    assert found["margin per token"].value == pytest.approx(((-1 + 2) + (-3 + 3)) / 2)


def test_changes_are_paired_against_base_pair_by_pair() -> None:
    of_base, aligned = measured(BEFORE, BEFORE), measured([pair(-6, -4), pair(-6, -9), pair(-1, -3), None], BEFORE)
    rise = paired_change([aligned["margin"]], [of_base["margin"]])
    assert (rise.value, rise.n) == (pytest.approx((2 + 2 + 1) / 3), 3)
    assert paired_change([aligned["reward"]], [of_base["reward"]]).value == 0.5


@pytest.mark.parametrize("number", [math.nan, -math.inf])
def test_a_pair_without_a_finite_log_probability_leaves_no_value(number: float) -> None:
    for after, before in (([pair(number, -1), pair(-1, -2)], None), ([pair(-1, -2)] * 2, [pair(-1, number)] * 2)):
        found = measured(list(after), None if before is None else list(before))
        assert {metric.value for metric in found.values()} == {None}
        assert found["reward"].counts["diverged"] > 0


def test_before_base_is_known_the_reward_has_no_value_and_the_rest_has() -> None:
    found = measured([pair(-1, -2), pair(-3, -2)], None)
    assert [found[name].value is None for name in ("reward", *BESIDE)] == [True, False, False, False]
