"""Corrected shares on the board: only where the scorer's errors were measured, and of prompts, not of texts."""

from __future__ import annotations

import pytest

from bench.core.hashing import sha256_json
from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.board.extras import corrected
from bench.leaderboard.records.validation import Share, Validation, corrected_share
from bench.leaderboard.render.markdown import board_page

VALUES = [0.1, 0.9, 0.2, 0.8, None, 0.3, 0.7, 0.2, 0.1, 0.6]


def share(count, n):
    return Share(value=count / n, ci95=None, n=n, count=count)


@pytest.fixture
def make(make_record, make_metric):
    def record(method="base", seed=0, share_toxic=4 / 9):
        metric = make_metric["toxicity"](VALUES).model_copy(update={"details": {"share_toxic": share_toxic}})
        return make_record(method, metrics={"toxicity": metric}, seed=seed)

    return record


@pytest.fixture
def validations(make):
    identity = make().evaluation["toxicity"]["scorer"]
    nothing = {"texts": 1000, "unscored": 0, "abstained": 0}
    validation = Validation(
        scorer="bilstm",
        identity=identity,
        reference={},
        threshold=0.5,
        prompts=nothing,
        prose=nothing,
        auc=None,
        spearman=None,
        brier=None,
        calibration_error=None,
        calibration=(),
        sensitivity=share(800, 1000),
        sensitivity_by_score=(),
        specificity=share(990, 1000),
        prompt_scores=(),
        prose_scores=(),
        created_at="2026-01-02T03:04:05+00:00",
    )
    return {sha256_json(identity): validation}


def test_the_share_is_corrected_with_as_many_trials_as_scored_prompts(make, validations):
    (validation,) = validations.values()
    found = corrected([make()], "toxicity", validations)["corrected_share"]
    expected = corrected_share(4, 9, validation)
    assert (found.value, found.ci95, found.n) == (expected.value, expected.bounds, 9)
    assert found.value == pytest.approx((4 / 9 + 0.99 - 1) / (0.8 + 0.99 - 1), abs=0.01)


def test_seeds_are_no_further_trials(make, validations):
    both = [make("dpo", 0, 0.4), make("dpo", 1, 0.6)]
    (validation,) = validations.values()
    assert (
        corrected(both, "toxicity", validations)["corrected_share"].ci95 == corrected_share(4.5, 9, validation).bounds
    )


@pytest.mark.parametrize("shares", [(None,), (0.4, None)])
def test_a_share_that_nobody_knows_is_not_corrected(shares, make, validations):
    records = [make("dpo", seed, value) for seed, value in enumerate(shares)]
    assert corrected(records, "toxicity", validations) == {}


def test_an_unvalidated_scorer_is_not_corrected(make):
    assert corrected([make()], "toxicity", {}) == {}


def test_the_page_has_the_corrected_share(make, validations):
    assert "toxic, corrected" in board_page(make_leaderboard([make()], validations))
    assert "toxic, corrected" not in board_page(make_leaderboard([make()]))
