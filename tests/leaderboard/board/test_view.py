"""Part of a board in another order."""

from __future__ import annotations

import pytest

from bench.core.errors import UsageError
from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.board.view import View, parse_where, view_board


@pytest.fixture
def board(make_record, make_metric):
    """Base, and two methods with and without noise: DPO loses by it, ProFS does not."""

    def record(method, rate, shift, **changes):
        metrics = {
            "toxicity": make_metric["toxicity"]([0.5 + 0.01 * (i % 7) + shift * (1 + i % 3 / 10) for i in range(30)]),
            "perplexity": make_metric["perplexity"]([3.0 + 0.01 * i for i in range(9)]),
        }
        return make_record(method, metrics=metrics, rate=rate, config={"rank": 2}, **changes)

    return make_leaderboard(
        [
            record("base", 0.0, 0.0),
            record("dpo", 0.0, -0.3),
            record("dpo", 0.3, -0.1),
            record("profs", 0.0, -0.2),
            record("profs", 0.3, -0.2),
        ]
    )


def rows(board, **view):
    (table,) = view_board(board, View(**view)).tables
    return [(row.method, row.noise_rate) for row in table.rows]


BASE = ("base", None)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["method=dpo"], [BASE, ("dpo", 0.0), ("dpo", 0.3)]),
        (["method=ProFS"], [BASE, ("profs", 0.0), ("profs", 0.3)]),
        (["noise=30%"], [BASE, ("dpo", 0.3), ("profs", 0.3)]),
        (["method=dpo,noise=0.3"], [BASE, ("dpo", 0.3)]),
        (["noise=0", "method=dpo", "method=profs", "rank=2"], [BASE, ("dpo", 0.0), ("profs", 0.0)]),
    ],
)
def test_rows_are_chosen_by_conditions_and_base_stays(board, texts, expected):
    assert rows(board, where=parse_where(texts)) == expected


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("toxicity", [("dpo", 0.0), ("profs", 0.0), ("profs", 0.3), ("dpo", 0.3)]),
        ("-toxicity", [("dpo", 0.3), ("profs", 0.0), ("profs", 0.3), ("dpo", 0.0)]),
        ("noise", [("dpo", 0.0), ("profs", 0.0), ("dpo", 0.3), ("profs", 0.3)]),
    ],
)
def test_rows_are_sorted_best_first_and_base_before_all(board, sort, expected):
    assert rows(board, sort=sort) == [BASE, *expected]


def test_groups_stand_together_in_the_order_they_are_sorted_by(board):
    ordered = [("dpo", 0.0), ("profs", 0.0), ("profs", 0.3), ("dpo", 0.3)]
    assert rows(board, sort="toxicity", group_by="noise") == [BASE, *ordered]
    assert rows(board, sort="-toxicity", group_by="method")[1:3] == [("dpo", 0.3), ("dpo", 0.0)]


def test_marks_and_comparisons_are_those_of_the_whole_board(board):
    (whole,), (part,) = board.tables, view_board(board, View(where=parse_where(["noise=0.3"]), sort="-method")).tables
    assert [row.method for row in part.rows] == ["base", "profs", "dpo"]
    by_cells = {row.cells: row for row in whole.rows}
    assert all(row == by_cells[row.cells] for row in part.rows)
    assert part.contrasts["toxicity"]
    for contrast in part.contrasts["toxicity"]:
        names = {part.rows[contrast.first].method, part.rows[contrast.second].method}
        assert names == {"dpo", "profs"}
    assert part.contrasts["toxicity"][0].gap in [one.gap for one in whole.contrasts["toxicity"]]


def test_metrics_are_chosen_and_the_first_leads(board):
    (table,) = view_board(board, View(metrics=("perplexity",))).tables
    assert [column.metric for column in table.columns] == ["perplexity"]


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ({"where": {"metod": ("dpo",)}}, "unknown condition 'metod'; did you mean 'method'"),
        ({"where": {"method": ("kto",)}}, "no row fits --where method=kto"),
        ({"metrics": ("toxcity",)}, "unknown metric 'toxcity'; did you mean 'toxicity'"),
        ({"sort": "tim"}, "unknown order 'tim'; did you mean 'time'"),
        ({"group_by": "nose"}, "unknown grouping 'nose'; did you mean 'noise'"),
    ],
)
def test_what_the_board_does_not_have_is_said(board, view, message):
    with pytest.raises(UsageError, match=message):
        view_board(board, View(**view))


@pytest.mark.parametrize("text", ["dpo", "=dpo", "method=", "method=dpo,noise"])
def test_a_condition_needs_a_name_and_a_value(text):
    with pytest.raises(UsageError, match="is no condition"):
        parse_where([text])
