"""Methods against each other under the same noise, of made-up records."""

from __future__ import annotations

import numpy as np
import pytest

from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.board.contrasts import MOST_ROWS
from bench.leaderboard.render.markdown import board_page

N = 200
GENERATOR = np.random.default_rng(0)
BASE = GENERATOR.uniform(0.2, 0.6, N)


def scores(gain, seed):
    """Of base less a gain that differs by item."""
    own = np.random.default_rng(seed).normal(0, 0.12, N)
    return (BASE - gain * (1 + 0.5 * np.random.default_rng(99).normal(0, 1, N)) - own).tolist()


@pytest.fixture
def record(make_record, make_metric):
    def record(method, values, rate=0.0, **changes):
        return make_record(method, metrics={"toxicity": make_metric["toxicity"](values)}, rate=rate, **changes)

    return record


@pytest.fixture
def four_cells(record):
    """A method that loses most of a large gain by noise, and one that keeps a small one."""
    return [
        record("base", BASE.tolist()),
        record("dpo", scores(0.2, 1)),
        record("dpo", scores(0.02, 2), rate=0.3),
        record("profs", scores(0.1, 3)),
        record("profs", scores(0.1, 4), rate=0.3),
    ]


def table(records):
    (found,) = make_leaderboard(records).tables
    return found


def pairs(of):
    """Contrasts by the names and noise of their rows."""
    rows = of.rows
    return {
        (rows[c.first].method, rows[c.second].method, rows[c.first].noise_rate): c for c in of.contrasts["toxicity"]
    }


def test_every_two_methods_stand_against_each_other_at_each_rate(four_cells):
    found = pairs(table(four_cells))
    assert list(found) == [("dpo", "profs", 0.0), ("dpo", "profs", 0.3)]
    clean, noisy = found.values()
    assert clean.gap.value == pytest.approx(np.mean(scores(0.2, 1)) - np.mean(scores(0.1, 3)))
    assert (clean.gap.better, noisy.gap.better) == (True, False)  # the order turns round under noise
    assert clean.gap.ci95[0] < clean.gap.value < clean.gap.ci95[1] < 0
    assert (clean.by_noise, clean.retained) == (None, None)
    first, second = (table(four_cells).rows[index].scores["toxicity"].noise for index in (noisy.first, noisy.second))
    assert noisy.by_noise.value == pytest.approx(first.change.value - second.change.value)
    assert noisy.by_noise.better is False
    assert noisy.retained == pytest.approx(first.retained - second.retained)
    assert noisy.retained_ci95[0] < noisy.retained < noisy.retained_ci95[1] < 0


def test_base_plays_no_part_in_a_contrast(four_cells, record):
    other_base = record("base", (BASE + GENERATOR.normal(0, 0.2, N)).tolist())
    again, found = pairs(table([other_base, *four_cells[1:]])), pairs(table(four_cells))
    for key, contrast in found.items():
        assert again[key].gap == contrast.gap
        if contrast.by_noise is not None:
            assert again[key].by_noise.value == pytest.approx(contrast.by_noise.value)
            assert again[key].by_noise.ci95 == pytest.approx(contrast.by_noise.ci95)
    without = pairs(table(four_cells[1:]))
    assert {key: contrast.gap for key, contrast in without.items()} == {key: c.gap for key, c in found.items()}
    assert all(contrast.by_noise is None for contrast in without.values())


def test_marks_are_corrected_over_all_pairs_of_all_rates(record):
    cells = [
        record(f"m{index}", scores(0.1 + index / 100, 30 + 10 * index + rate), rate=rate / 10)
        for index in range(4)
        for rate in (0, 3)
    ]
    found = pairs(table([record("base", BASE.tolist()), *cells])).values()
    gaps = [contrast.gap for contrast in found]
    by_noise = [contrast.by_noise for contrast in found if contrast.by_noise]
    assert (len(gaps), len(by_noise)) == (12, 6)
    assert min(change.p_holm for change in gaps) == min(1.0, 12 * min(change.p for change in gaps))
    assert min(change.p_holm for change in by_noise) == min(1.0, 6 * min(change.p for change in by_noise))


@pytest.mark.parametrize("other", [{"rate": 0.1}, {"n_pairs": 100}, {"pool_sha256": "33" * 32}, {"held_out": 0}])
def test_rows_that_were_given_something_else_are_not_compared(record, other):
    cells = [record("dpo", scores(0.1, 1), rate=0.3), record("profs", scores(0.1, 2), **{"rate": 0.3, **other})]
    assert table([record("base", BASE.tolist()), *cells]).contrasts == {}


def test_degenerate_text_wins_over_no_method(four_cells):
    metric = four_cells[1].metrics["toxicity"].model_copy(update={"details": {"guards": {"empty_rate": 0.9}}})
    silent = four_cells[1].model_copy(update={"metrics": {"toxicity": metric}})
    assert list(pairs(table([four_cells[0], silent, *four_cells[2:]]))) == [("dpo", "profs", 0.3)]


def test_an_oracle_stands_against_what_was_given_the_corrupted_pairs_too(record):
    oracle = record("oracle", scores(0.1, 3), rate=0.3, n_pairs=150, config={"oracle": True})
    noise = oracle.data.noise.model_copy(update={"n_flipped": 50})
    oracle = oracle.model_copy(update={"data": oracle.data.model_copy(update={"noise": noise})})
    found = table([record("base", BASE.tolist()), oracle, record("dpo", scores(0.1, 2), rate=0.3)])
    assert list(pairs(found)) == [("dpo", "oracle", 0.3)]


def test_rows_that_lack_a_seed_stand_against_nothing(record):
    def gap(seeds, others):
        cells = [record("dpo", scores(0.1, 10 + seed), seed=seed) for seed in seeds]
        cells += [record("profs", scores(0.3, 20 + seed), seed=seed) for seed in others]
        found = table([record("base", BASE.tolist()), *cells]).contrasts
        return found["toxicity"][0].gap.better if found else "not compared"

    assert gap((0, 1, 2), (0, 1, 2)) is False
    assert gap((0, 1, 2), (1, 2, 3)) == "not compared"
    assert gap((0, 1, 2), (2,)) == "not compared"


def test_a_crowd_is_not_compared_two_by_two_and_the_page_says_so(record):
    cells = [record(f"m{index:02}", scores(0.1, index)) for index in range(MOST_ROWS + 1)]
    base = record("base", BASE.tolist())
    assert len(table([base, *cells[1:]]).contrasts["toxicity"]) == MOST_ROWS * (MOST_ROWS - 1) // 2
    board = make_leaderboard([base, *cells])
    assert board.tables[0].contrasts == {}
    assert "not set against each other two by two: 13 rows at 0 %" in board_page(board)


def test_changes_that_are_relative_have_no_difference_in_differences(make_record, make_metric):
    losses = GENERATOR.normal(3, 0.5, 50)
    cells = [
        make_record(name, metrics={"perplexity": make_metric["perplexity"]((losses + up).tolist())}, rate=rate)
        for name, rate, up in (("base", 0.0, 0), ("dpo", 0.0, 0.1), ("dpo", 0.3, 0.2), ("sft", 0.0, 0), ("sft", 0.3, 0))
    ]
    clean, noisy = table(cells).contrasts["perplexity"]
    assert [contrast.gap.value for contrast in (clean, noisy)] == pytest.approx(np.expm1([0.1, 0.2]))
    assert (noisy.by_noise, noisy.retained) == (None, None)
