"""Answers of which few changed: hand cases of 140, exact enumeration, and how many it takes to be sure of nothing."""

from __future__ import annotations

import pytest
from scipy.stats import binom

from bench.leaderboard.board.scores import paired_change
from bench.leaderboard.statistics.answers import Answers, answer_bounds, answers_p

N = 140


@pytest.mark.parametrize(
    ("lost", "gained", "p", "verdict"),
    [
        (0, 0, 1.0, "INCONCLUSIVE"),
        (0, 1, 1.0, "INCONCLUSIVE"),
        (1, 0, 1.0, "INCONCLUSIVE"),
        (3, 0, 0.25, "INCONCLUSIVE"),
        (4, 0, 0.125, "INCONCLUSIVE"),
        (5, 0, 0.0625, "INCONCLUSIVE"),
        (6, 0, 0.03125, "FAIL"),
    ],
)
def test_few_changed_answers_have_an_exact_p_and_no_hasty_verdict(lost, gained, p, verdict, make_metric):
    right = [1.0] * (N // 2) + [0.0] * (N // 2)
    after = [0.0] * lost + right[lost : N - gained] + [1.0] * gained
    of_tasks = [{str(task): values[task::7] for task in range(7)} for values in (after, right)]
    change = paired_change(*([make_metric["capability"](tasks)] for tasks in of_tasks), margin=0.01)
    assert change.p == pytest.approx(p)
    assert (change.preserved.verdict, change.value) == (verdict, pytest.approx((gained - lost) / N))
    assert (change.better is None) == (p > 0.05)
    low, high = change.ci95
    assert low < change.value < high
    assert (low < 0 < high) == (p > 0.05)


@pytest.mark.parametrize(("n", "verdict"), [(4, "INCONCLUSIVE"), (298, "INCONCLUSIVE"), (299, "PASS")])
def test_no_changed_answer_is_no_proof_before_299_of_them_for_a_point(n, verdict, make_metric):
    same = [make_metric["capability"]({"boolq": [1.0] * n})]
    change = paired_change(same, same, margin=0.01)
    assert change.preserved.verdict == verdict
    assert change.ci95[0] < 0 < change.ci95[1]


@pytest.mark.parametrize("seeds", [1, 3])
def test_seeds_and_unequal_tasks_have_no_narrower_bounds_than_one_seeds_answers(seeds, make_metric):
    right = {"boolq": [1.0] * 60, "rte": [1.0] * 20}
    changed = {"boolq": [0.0] + [1.0] * 59, "rte": [1.0] * 20}
    change = paired_change([make_metric["capability"](changed)] * seeds, [make_metric["capability"](right)])
    low, high = answer_bounds(Answers(lost=1 / 120, gained=0.0, n=1 / (60 / 120**2 + 20 / 40**2)))
    assert change.ci95[0] <= low < 0 < high <= change.ci95[1]


@pytest.mark.parametrize(
    ("lost", "gained"), [(0.010, 0.0), (0.0107, 0.0007), (0.015, 0.005), (0.02, 0.01), (0.05, 0.04), (0.1, 0.09)]
)
def test_bounds_cover_and_pass_at_the_margin_is_rare_by_enumeration(lost, gained):
    """True changes of -1 point: of every outcome of 140 answers, those whose bounds hold it, and those that PASS."""
    covered = passed = total = 0.0
    for n_lost in range(60):
        for n_gained in range(60):
            chance = binom.pmf(n_lost, N, lost) * binom.pmf(n_gained, N - n_lost, gained / (1 - lost))
            counted = Answers(n_lost / N, n_gained / N, N)
            low, high = answer_bounds(counted)
            covered += chance * (low <= gained - lost <= high)
            passed += chance * (answer_bounds(counted, level=0.9)[0] > -0.01)
            total += chance
    assert total == pytest.approx(1, abs=1e-6)
    assert covered > 0.948
    assert passed < 0.05


def test_answers_of_equal_weight_have_mcnemars_p_and_others_flip_signs():
    assert answers_p([1] * 6 + [-1] + [0] * 13) == pytest.approx(16 / 128)
    assert answers_p([0.0] * 5) == 1.0
    assert answers_p([-1, 2, 4]) == 4 / 8
