"""A method over all its noise: clean cost, worst cell and worst noise model, of made-up records."""

from __future__ import annotations

import numpy as np
import pytest

from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.render.markdown import board_page

N = 100
BASE = np.random.default_rng(0).uniform(0.2, 0.6, N)


@pytest.fixture
def record(make_record, make_metric):
    def record(method, gain, rate=0.0, **changes):
        values = BASE - gain - np.random.default_rng([len(method), int(1000 * gain)]).normal(0, 0.02, N)
        metric = make_metric["toxicity"](values.tolist())
        if changes.pop("silent", False):
            metric = metric.model_copy(update={"details": {"guards": {"empty_rate": 0.9}}})
        noise_model = changes.pop("noise_model", "flip")
        made = make_record(
            method,
            metrics={"toxicity": metric},
            rate=rate,
            cell_id=f"{method} {noise_model} {rate} {changes}",
            **changes,
        )
        noise = made.data.noise.model_copy(update={"model": noise_model})
        return made.model_copy(update={"data": made.data.model_copy(update={"noise": noise})})

    return record


@pytest.fixture
def board(record):
    def board(*cells, base=True):
        made = [make_leaderboard([*([record("base", 0.0)] if base else []), *cells])]
        return made[0]

    return board


def of(board):
    """What is said of each method, with rows in place of indices."""
    (table,) = board.tables
    return {table.rows[one.rows[0]].method: (one, table.rows) for one in table.over_noise.get("toxicity", ())}


def cells(record, method, gains, **changes):
    return [record(method, gain, rate, **changes) for rate, gain in gains.items()]


def test_a_robust_method_pays_without_noise(record, board):
    made = board(
        *cells(record, "dpo", {0.0: 0.2, 0.1: 0.1, 0.3: 0.01}),
        *cells(record, "robust", {0.0: 0.12, 0.1: 0.11, 0.3: 0.1}),
    )
    (dpo, rows), (robust, _) = of(made).values()
    assert (rows[dpo.best].method, rows[robust.best].method) == ("dpo", "dpo")
    assert dpo.clean_cost is None
    assert robust.clean_cost.value == pytest.approx(0.08, abs=0.01)
    assert robust.clean_cost.ci95[0] > 0
    assert robust.clean_cost.better is None  # the same numbers chose what it is held against
    assert [rows[index].noise_rate for index in robust.rows] == [0.0, 0.1, 0.3]
    page = board_page(made)
    assert "### Over all noise: toxicity" in page
    assert "| best | 30 %: " in page


def test_the_worst_cell_has_the_least_gain_and_degenerate_text_is_worse(record, board):
    gains = {0.0: 0.1, 0.1: 0.02, 0.3: 0.05}
    (one, rows) = of(board(*cells(record, "dpo", gains)))["dpo"]
    assert rows[one.worst].noise_rate == 0.1
    silent = record("dpo", 0.3, 0.3, silent=True)
    (one, rows) = of(board(*cells(record, "dpo", {0.0: 0.1, 0.1: 0.02}), silent))["dpo"]
    assert rows[one.worst].noise_rate == 0.3


def test_degenerate_text_is_not_the_best_without_noise(record, board):
    silent = [record("silent", 0.4, rate, silent=True) for rate in (0.0, 0.1, 0.3)]
    found = of(board(*silent, *cells(record, "dpo", {0.0: 0.1, 0.1: 0.1, 0.3: 0.1})))
    one, rows = found["dpo"]
    assert (rows[one.best].method, one.clean_cost) == ("dpo", None)


def test_the_worst_noise_model_goes_by_the_rates_that_all_have(record, board):
    made = board(
        record("dpo", 0.2),
        *cells(record, "dpo", {0.1: 0.15, 0.3: 0.1}, noise_model="flip"),
        *cells(record, "dpo", {0.1: 0.1, 0.3: 0.04, 0.5: 0.19}, noise_model="flip-adversarial"),
    )
    (one, _) = of(made)["dpo"]
    assert (one.worst_model, one.shared_rates) == ("flip-adversarial", (0.1, 0.3))
    assert one.worst_model_change.value == pytest.approx(-0.07, abs=0.01)
    assert one.worst_model_change.ci95[0] < one.worst_model_change.value < one.worst_model_change.ci95[1]
    assert "flip-adversarial: −0.0" in board_page(made)
    apart = board(record("dpo", 0.2), record("dpo", 0.1, 0.1), record("dpo", 0.1, 0.3, noise_model="flip-adversarial"))
    assert of(apart)["dpo"][0].worst_model is None


def test_with_one_rate_or_other_pairs_nothing_is_said(record, board):
    assert of(board(*cells(record, "dpo", {0.0: 0.2, 0.3: 0.1}))) == {}
    apart = [record("dpo", 0.1, 0.5, n_pairs=50)]
    assert of(board(*cells(record, "dpo", {0.0: 0.2, 0.3: 0.1}), *apart)) == {}


def test_without_base_the_worst_cell_is_still_known(record, board):
    made = board(*cells(record, "dpo", {0.0: 0.2, 0.1: 0.05, 0.3: 0.1}), base=False)
    (one, rows) = of(made)["dpo"]
    assert rows[one.worst].noise_rate == 0.1
    assert "| DPO | – | best | 10 %: – |" in board_page(made)
