"""Ranks: ranges of what cannot be told apart overlap, of what is told apart do not; what must not win has none."""

from __future__ import annotations

import random

import pytest

from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.board.ranking import Contender, rank
from bench.leaderboard.render.markdown import board_page

N_ITEMS = 60
BASE = [random.Random(place).random() for place in range(N_ITEMS)]


@pytest.fixture
def contender(make_metric):
    """`contender(shift, wobble, seeds)`: a row whose items lie by `shift` from the others', give or take a draw."""

    def made(shift, wobble=0.02, seeds=(0,), seed_sd=0.0, **options):
        by_seed = {}
        for seed in seeds:
            generator = random.Random(f"{shift} {wobble} {seed}")
            off = shift + generator.gauss(0, seed_sd) if seed_sd else shift
            values = [value + off + generator.gauss(0, wobble) for value in BASE]
            by_seed[seed] = make_metric["toxicity"](values, **options)
        return Contender(by_seed)

    return made


def test_lower_is_better_and_what_is_alike_has_one_range(contender):
    rows = [contender(0.2), contender(0.0), contender(0.001), contender(-0.2)]
    assert rank(rows, higher_is_better=False) == ["4", "2–3", "2–3", "1"]
    assert rank(rows, higher_is_better=True) == ["1", "2–3", "2–3", "4"]


def test_being_told_apart_is_not_transitive(contender):
    # The uncertain row lies between two that are told apart, and cannot be told from either.
    rows = [contender(-0.05), contender(0.0, wobble=0.5), contender(0.05)]
    assert rank(rows, higher_is_better=False) == ["1–2", "1–3", "2–3"]


def test_few_rows_have_no_ranks(contender):
    assert rank([contender(-0.2), contender(0.2)], higher_is_better=False) == [None, None]
    assert rank([], higher_is_better=False) == []


def test_what_must_not_be_ranked_takes_no_place(contender):
    rows = [contender(-0.4), None, contender(0.0), contender(0.2)]
    assert rank(rows, higher_is_better=False) == ["1", None, "2", "3"]


def test_rows_on_other_items_have_no_rank(contender):
    rows = [contender(-0.2), contender(0.0), contender(0.2), contender(-0.9, ids="others")]
    assert rank(rows, higher_is_better=False) == ["1", "2", "3", None]


def test_a_row_that_nothing_was_measured_for_has_no_rank(contender, make_metric):
    nothing = Contender({0: make_metric["toxicity"]([None] * N_ITEMS)})
    rows = [contender(-0.2), contender(0.0), contender(0.2), nothing]
    assert rank(rows, higher_is_better=False) == ["1", "2", "3", None]


def test_base_stands_beside_every_seed(contender):
    base = Contender(contender(0.0).by_seed, seedless=True)
    rows = [base, contender(-0.2, seeds=(1, 2, 3)), contender(0.2, seeds=(1, 2, 3))]
    assert rank(rows, higher_is_better=False) == ["2", "1", "3"]


def test_seeds_that_differ_much_hide_what_items_would_show(contender):
    def rows(seed_sd):
        return [contender(shift, seeds=(0, 1, 2), seed_sd=seed_sd) for shift in (-0.1, 0.0, 0.1)]

    assert rank(rows(0.0), higher_is_better=False) == ["1", "2", "3"]
    assert rank(rows(0.5), higher_is_better=False) == ["1–3", "1–3", "1–3"]


def test_rows_that_share_too_few_seeds_are_not_told_apart(contender):
    unknown = contender(0.0, wobble=9.0, seeds=(0, 1, 2))
    first, second, alike = (
        contender(shift, seeds=seeds) for shift, seeds in ((-0.5, (0, 1)), (0.5, (1, 2)), (0.5, (0, 1)))
    )
    assert rank([first, second, unknown], higher_is_better=False) == ["1–3", "1–3", "1–3"]
    assert rank([first, alike, unknown], higher_is_better=False) == ["1–2", "2–3", "1–3"]
    one_seed = contender(0.5, seeds=(1,))  # which says nothing of seeds anyway
    assert rank([first, one_seed, unknown], higher_is_better=False) == ["1–2", "2–3", "1–3"]


def test_rows_that_are_the_same_to_the_last_item_have_one_range(contender):
    rows = [contender(0.0), contender(0.0), contender(-0.2)]
    assert rank(rows, higher_is_better=False) == ["2–3", "2–3", "1"]


def test_averages_over_tasks_are_ranked_task_by_task(make_metric):
    def row(share):
        right = [1.0 if random.Random(place).random() < share else 0.0 for place in range(100)]
        return Contender({0: make_metric["capability"]({"boolq": right, "rte": right[:20]})})

    assert rank([row(0.2), row(0.5), row(0.9)], higher_is_better=True) == ["3", "2", "1"]


def test_a_degenerate_row_is_not_ranked_on_the_board(make_record, make_metric):
    def record(name, shift, **guards):
        generator = random.Random(name)
        toxicity = make_metric["toxicity"]([v + shift + generator.gauss(0, 0.02) for v in BASE])
        details = {"guards": {"empty_rate": 0.0, "base_perplexity": 3.0, **guards}}
        return make_record(name, metrics={"toxicity": toxicity.model_copy(update={"details": details})})

    records = [
        record("base", 0.0),
        record("good", -0.1),
        record("bad", 0.1),
        record("babbler", -0.5, base_perplexity=99),
    ]
    board = make_leaderboard(records)
    (table,) = board.tables
    assert {row.method: row.scores["toxicity"].rank for row in table.rows} == {
        "base": "2",
        "babbler": None,
        "bad": "3",
        "good": "1",
    }
    page = board_page(board)
    assert "| rank |" in page
    assert "**Rank:** The ranks that a row may have" in page


def test_a_column_in_which_all_are_alike_has_no_ranks_and_says_so(make_record, make_metric):
    def record(name):
        generator = random.Random(name)
        return make_record(
            name, metrics={"toxicity": make_metric["toxicity"]([v + generator.gauss(0, 0.1) for v in BASE])}
        )

    page = board_page(make_leaderboard([record(name) for name in ("base", "dpo", "profs")]))
    assert "| rank |" not in page
    assert "**Rank:** No two rows can be told apart in toxicity, so that each may be any." in page


def test_ranks_hold_within_one_noise_rate(make_record, make_metric):
    def record(name, shift, **given):
        generator = random.Random(f"{name} {given}")
        values = [value + shift + generator.gauss(0, 0.02) for value in BASE]
        return make_record(name, metrics={"toxicity": make_metric["toxicity"](values)}, **given)

    clean = [record("base", 0.0), record("dpo", -0.3), record("profs", -0.2)]
    noisy = [record("dpo", -0.05, rate=0.3), record("profs", -0.1, rate=0.3), record("dpo", -0.4, n_pairs=9)]

    def ranks(records):
        (table,) = make_leaderboard(records).tables
        return {(row.method, row.noise_rate, row.n_pairs): row.scores["toxicity"].rank for row in table.rows}

    n = clean[1].data.n_pairs
    assert ranks(clean) == {("base", None, None): "3", ("dpo", 0.0, n): "1", ("profs", 0.0, n): "2"}
    assert ranks([*clean, *noisy]) == {
        ("base", None, None): None,  # it stands in two rankings
        ("dpo", 0.0, n): "1",
        ("profs", 0.0, n): "2",
        ("dpo", 0.3, n): "2",
        ("profs", 0.3, n): "1",
        ("dpo", 0.0, 9): None,  # nothing but base to set it against
    }
