"""The page: complete, marked only where an interval excludes zero, and well-formed whatever names there are."""

from __future__ import annotations

import re

import pytest

from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.render.markdown import board_page, escaped
from bench.methods.labels import method_label

VALUES = [0.1, 0.4, 0.2, 0.9, 0.5, 0.6, 0.7, 0.6]


@pytest.fixture
def make(make_record, make_metric):
    def record(method="profs", shift=0.0, **changes):
        metrics = {"toxicity": make_metric["toxicity"]([value + shift for value in VALUES])}
        return make_record(method, metrics=changes.pop("metrics", metrics), **changes)

    return record


def cells(text, method):
    """The cells of the first table's row of `method`, by column title."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip().replace("\u00a0", " ") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    found = next(row for row in rows if row[0].startswith(method_label(method)))
    return dict(zip(rows[0], found, strict=True))


def test_a_change_whose_interval_excludes_zero_is_bold_with_its_sign(make, make_metric):
    def moved(by):
        values = [value + by + (0.01 if index % 2 else -0.01) for index, value in enumerate(VALUES)]
        return {"toxicity": make_metric["toxicity"](values)}

    records = [make("base"), make("dpo", metrics=moved(-0.05)), make("profs", metrics=moved(0.05))]
    text = board_page(make_leaderboard(records))
    assert cells(text, "dpo")["Δ toxicity"].startswith("**−0.050** ✓ [−0.0")
    assert cells(text, "profs")["Δ toxicity"].startswith("**+0.050** ✗ [+0.0")
    assert cells(text, "base")["Δ toxicity"] == ""


def test_a_change_whose_interval_holds_zero_is_plain(make, make_metric):
    wobble = [value + (0.1 if index % 2 else -0.1) for index, value in enumerate(VALUES)]
    text = board_page(
        make_leaderboard([make("base"), make("dpo", metrics={"toxicity": make_metric["toxicity"](wobble)})])
    )
    change = cells(text, "dpo")["Δ toxicity"]
    assert "*" not in change
    assert "✓" not in change
    assert change.startswith("0.000 [−")


def test_a_change_without_spread_is_plain_and_has_no_interval(make):
    text = board_page(make_leaderboard([make("base"), make("dpo", 0.05), make("profs", 0.0)]))
    assert cells(text, "dpo")["Δ toxicity"] == "+0.050 (no interval)"
    assert cells(text, "profs")["Δ toxicity"] == "0.000 [0.000, 0.000]"


def test_what_was_not_measured_is_a_dash(make, make_metric):
    metrics = {"toxicity": make_metric["toxicity"](VALUES), "perplexity": make_metric["perplexity"]([3.0, 3.5])}
    text = board_page(make_leaderboard([make("base", metrics=metrics), make("profs")]))
    assert cells(text, "profs")["perplexity ↓"] == "–"
    assert cells(text, "profs")["Δ perplexity"] == "–"


def test_an_unpaired_change_refers_to_its_reason(make, make_metric):
    other = {"toxicity": make_metric["toxicity"](VALUES, ids="others")}
    text = board_page(make_leaderboard([make("base"), make("dpo", metrics=other)]))
    assert cells(text, "dpo")["Δ toxicity"] == "–¹"
    assert "- **¹:** no change can be given: measured on different items." in text


def test_a_change_on_fewer_items_says_so(make, make_metric):
    partly = {"toxicity": make_metric["toxicity"]([None, None, *VALUES[2:]])}
    text = board_page(make_leaderboard([make("base"), make("dpo", metrics=partly)]))
    assert "- **Items:** some changes rest on fewer items: DPO toxicity on 6 of 8." in text


def test_older_records_left_out_are_told(make):
    old = make("dpo", cell_id="old", created_at="2025-01-01T00:00:00+00:00")
    text = board_page(make_leaderboard([make("base"), make("dpo"), old]))
    assert "- **Records:** 1 older of the same row and seed are left out; the newest counts." in text


def test_without_base_there_is_no_change_column_and_a_note(make):
    text = board_page(make_leaderboard([make("dpo")]))
    assert "Δ" not in text
    assert "There is no base row" in text
    alone = board_page(make_leaderboard([make("base")]))
    assert "Δ" not in alone
    assert "There is no base row" not in alone


def test_one_item_has_no_interval(make, make_metric):
    records = [
        make(name, metrics={"toxicity": make_metric["toxicity"]([value])})
        for name, value in (("base", 0.5), ("dpo", 0.2))
    ]
    text = board_page(make_leaderboard(records))
    assert cells(text, "dpo")["toxicity ↓"] == "0.200 (n = 1)"
    assert cells(text, "dpo")["Δ toxicity"] == "−0.300 (n = 1)"


def test_notes_say_what_marks_seeds_and_numbers_can_bear(make, make_metric):
    def moved(seed):
        values = [value - 0.1 * place * (1 + seed) / 10 for place, value in enumerate(VALUES)]
        return {"toxicity": make_metric["toxicity"](values)}

    one = board_page(make_leaderboard([make("base"), make("dpo", metrics=moved(0))]))
    assert "Holm's correction over all rows of the column leaves p at most 0.05" in one
    assert "- **Seeds:** one a row (0); no interval says how another draw of pairs or training would do." in one
    assert re.search(
        r"\*\*Detectable:\*\* .*: toxicity 0\.\d{3} \(0\.\d{3}\), for a mark 0\.\d{3} \(0\.\d{3}\), "
        r"with 8 items and 1 seed\.",
        one,
    )
    assert "**Rank:**" not in one
    two = board_page(make_leaderboard([make("base"), *(make("dpo", metrics=moved(s), seed=s) for s in (0, 1))]))
    assert "and over seeds where a row has several" in two
    assert "two seeds: the nominal 95 % interval covers between 92 and 98 %" in two
    assert "with 8 items and 2 seeds." in two


def test_seeds_have_a_column_and_a_table_of_their_spread(make):
    text = board_page(make_leaderboard([make("base"), *(make("dpo", -0.1 * seed, seed=seed) for seed in (0, 1))]))
    assert cells(text, "dpo")["seeds"] == "2"
    assert "### Between seeds" in text
    assert "0.071 (0.400 to 0.500)".replace(" ", "\u00a0") in text
    assert "### Between seeds" not in board_page(make_leaderboard([make("base"), make("dpo")]))


def test_flags_have_a_column_only_where_there_are_any(make):
    assert (
        cells(board_page(make_leaderboard([make("dpo", flags=["identical-pairs"])])), "dpo")["flags"]
        == "identical-pairs"
    )
    assert "flags" not in cells(board_page(make_leaderboard([make("dpo")])), "dpo")


def test_two_scorers_make_two_tables_that_say_so(make):
    text = board_page(make_leaderboard([make("base"), make("base", scorer="linear")]))
    assert "## synthetic-model · toxicity.scorer.name=bilstm" in text
    assert "## synthetic-model · toxicity.scorer.name=linear" in text


def test_tasks_have_a_table_of_their_own(make, make_metric):
    tasks = {"arc_easy": [1.0, 0.0] * 10, "rte": [1.0] * 20}
    better = tasks | {"arc_easy": [1.0] * 20}
    records = [
        make(name, metrics={"capability": make_metric["capability"](t)})
        for name, t in (("base", tasks), ("dpo", better))
    ]
    text = board_page(make_leaderboard(records)).replace("\u00a0", " ")
    assert "### capability by task" in text
    assert "100.0 % (**+50.0** ✓)" in text


def test_strange_names_cannot_break_the_table(make):
    text = board_page(make_leaderboard([make("base"), make("a|b *bold* <i>\nnew", cell_id="strange")]))
    tables = [section.splitlines() for section in text.split("\n\n") if section.startswith("|")]
    assert len(tables) == 2
    for lines in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert cells(text, "a")["method"] == r"a\|b \*bold\* \<i\> new"


def test_underscores_inside_words_stay_readable():
    assert escaped("max_new_tokens _x_") == r"max_new_tokens \_x\_"
