"""The board that fits a screen: how long and wide it is, and what it says in words."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from rich.console import Console

from bench.core.errors import UsageError
from bench.display.board import next_commands, print_brief
from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.board.values import Leaderboard
from bench.leaderboard.board.view import View
from bench.leaderboard.records.failures import FailedCell
from bench.leaderboard.render.brief import MOST_ROWS, shown_rows
from bench.leaderboard.render.findings import findings
from bench.models.catalogue import MODELS

N = 120
RUN = Path("runs/mine")


@pytest.fixture
def cells(make_record, make_metric):
    """`cells(gains)`: base, and a record for each method, noise rate and seed, which is that much less toxic."""

    def values(gain, seed):
        draw = random.Random(seed)
        return [0.4 + 0.2 * random.Random(index).random() - gain + draw.gauss(0, 0.05) for index in range(N)]

    def make(gains, seeds=(0,), guards=None, **changes):
        def metrics(gain, seed):
            toxicity = make_metric["toxicity"](values(gain, seed))
            if guards and gain:
                toxicity = toxicity.model_copy(update={"details": {"guards": guards}})
            return {
                "toxicity": toxicity,
                "perplexity": make_metric["perplexity"](
                    [3.0 + 0.01 * random.Random(seed + i).random() for i in range(9)]
                ),
                "capability": make_metric["capability"]({"boolq": [1.0, 0.0, 1.0, 1.0], "rte": [0.0, 1.0, 1.0, 0.0]}),
                **make_metric["preference"]([0.0] * 30 if gain == 0 else [1.0] * 20 + [-gain] * 10),
            }

        changes.setdefault("source", "on-policy:synthetic")
        records = [make_record("base", metrics=metrics(0.0, 1))]
        for index, ((method, rate), gain) in enumerate(gains.items()):
            records += [
                make_record(method, metrics=metrics(gain, 100 * index + seed + 2), rate=rate, seed=seed, **changes)
                for seed in seeds
            ]
        return make_leaderboard(records)

    return make


def shown(board: Leaderboard, width: int, **changes) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_brief(console, board, RUN, **{"notes": False, **changes})
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


THREE = {("profs", 0.0): 0.1, ("profs", 0.3): 0.1, ("dpo", 0.0): 0.1, ("dpo", 0.3): 0.02}
THREE |= {("profs-rematched", 0.0): 0.05, ("profs-rematched", 0.3): 0.05}


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_three_methods_fit_a_screen_where_the_preference_leads_as_well(cells, width):
    lines = shown(cells(THREE, source="file:mine.jsonl"), width)
    assert len(lines) + 1 <= 25
    assert max(map(len, lines)) <= width
    assert "…" not in "\n".join(lines)
    assert any("toxicity" in line for line in lines[:4])


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_three_methods_with_and_without_noise_fit_a_screen(cells, width):
    lines = shown(cells(THREE), width)
    assert len(lines) + 1 <= 25  # the path of the page comes last
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text
    for row in cells(THREE).tables[0].rows[1:]:
        low, high = row.scores["toxicity"].change.ci95
        assert f"{low:.3f}, ".replace("-", "−") in text
        assert f"{high:.3f}]".replace("-", "−") in text
        if row.noise_rate:
            assert f"{row.scores['toxicity'].noise.retained:.2f}" in text


def test_of_many_rows_the_ends_of_the_noise_are_shown_and_the_others_counted(cells):
    rates = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    board = cells({(method, rate): 0.1 - 0.1 * rate for method in ("dpo", "kto") for rate in rates})
    rows = shown_rows(board.tables[0])
    assert [(row.method, row.noise_rate) for row in rows[1:]] == [
        ("dpo", 0.0),
        ("dpo", 0.5),
        ("kto", 0.0),
        ("kto", 0.5),
    ]
    assert " 8 rows more are in leaderboard.md" in "\n".join(shown(board, 80))
    many = cells({(f"m{index:02}", 0.0): 0.1 for index in range(30)})
    assert len(shown_rows(many.tables[0])) == MOST_ROWS
    assert len(shown(many, 80)) <= 30


def said(board):
    (table,) = board.tables
    return findings(table, shown_rows(table))


def test_what_is_told_is_said(cells):
    text = said(cells(THREE))
    assert text.startswith("Toxicity: ")
    assert "ProFS-rematched (0 %, 30 % noise)" in text
    assert "are lower than base" in text
    assert "30 % noise took" in text
    assert "of DPO's gain" in text
    assert "at 30 % noise ProFS is lower than DPO and ProFS-rematched, ProFS-rematched is lower than DPO;" in text
    assert "noise took more from DPO than from ProFS and ProFS-rematched." in text
    assert "what noise did to ProFS and ProFS-rematched is not told (0.0" in text


def test_where_nothing_is_told_the_difference_that_could_have_been_seen_is_said(cells):
    board = cells({("dpo", 0.0): 0.0, ("dpo", 0.3): 0.0, ("profs", 0.0): 0.0, ("profs", 0.3): 0.0})
    text = said(board)
    largest = max(row.scores["toxicity"].change.detectable for row in board.tables[0].rows[1:])
    assert f"are not told from base ({largest:.3f} would be seen)" in text
    assert "which of them noise took more from is not told" in text
    assert text.endswith("Seen: by itself, in 4 of 5 such runs.")
    assert "took" not in text.replace("noise took more from is not told", "")


def test_harm_is_said(cells):
    assert "DPO is higher than base" in said(cells({("dpo", 0.0): -0.2}))
    text = said(cells({("dpo", 0.0): 0.1, ("dpo", 0.3): -0.1}))
    assert "30 % noise cost DPO 0." in text
    assert "30 % noise did DPO good" in said(cells({("dpo", 0.0): 0.0, ("dpo", 0.3): 0.2}))


def test_degenerate_text_is_neither_told_nor_a_gain(cells):
    text = said(cells({("dpo", 0.0): 0.2, ("dpo", 0.3): 0.2}, guards={"empty_rate": 0.9}))
    assert "DPO (0 %, 30 % noise) are not counted (silent)" in text
    assert "lower" not in text


def test_without_anything_to_compare_that_is_said(cells, make_record, make_metric):
    assert said(cells({})) == "Only the unaligned model was measured."
    metrics = {"toxicity": make_metric["toxicity"]([0.1, 0.2])}
    assert said(make_leaderboard([make_record("dpo", metrics=metrics)])).startswith("The unaligned model was not")
    other = make_record("dpo", metrics={"toxicity": make_metric["toxicity"]([0.1, 0.2], ids="others")})
    base = make_record("base", metrics=metrics)
    assert "DPO is not compared with base" in said(make_leaderboard([base, other]))
    assert "No finished cell yet." in "\n".join(shown(make_leaderboard([]), 80))


def test_names_are_no_markup(cells):
    assert "[red]x[/red]" in "\n".join(shown(cells({("[red]x[/red]", 0.0): 0.1}, cell_id="x"), 120))


def test_two_commands_come_last_and_can_be_pasted(cells):
    board = cells(THREE)
    first, last = shown(board, 120)[-2:]
    assert first.startswith(" bench study runs/mine --amend seeds=3  # ")
    assert last.startswith(" bench leaderboard runs/mine --notes  # ")
    assert shown(board, 40)[-1] == " bench leaderboard runs/mine --notes"  # never broken, rather without its purpose
    seeds = cells(THREE, seeds=(0, 1, 2))
    assert [command for command, _ in next_commands(seeds, Path("a b"))] == [
        "bench study 'a b' --amend rates=0.1,0.5",
        "bench leaderboard 'a b' --notes",
    ]
    failed = board.model_copy(update={"failed": (FailedCell(cell="dpo-x", error="no luck"),)})
    assert next_commands(failed, RUN)[0][0] == "bench status runs/mine"
    assert " failed: dpo-x" in shown(failed, 80)


def test_notes_show_the_whole_board(cells):
    whole = "\n".join(shown(cells(THREE), 100, notes=True))
    assert "Reading: " in whole
    assert "budget on cpu" in whole
    assert "Reading: " not in "\n".join(shown(cells(THREE), 100))


def test_a_model_of_the_catalogue_goes_by_its_name_and_flags_by_their_row(cells) -> None:
    board = cells({("dpo", 0.3): 0.2})
    (table,) = board.tables
    rows = tuple(row.model_copy(update={"flags": ("odd",)}) for row in table.rows)
    named = table.model_copy(update={"locator": MODELS["gemma3-270m"].locator, "rows": rows})
    lines = [line.strip() for line in shown(board.model_copy(update={"tables": (named,)}), 80)]
    assert "gemma3-270m" in lines[0]
    assert MODELS["gemma3-270m"].locator not in lines[0]
    assert "! base: odd" in lines
    assert "! DPO 30 %: odd" in lines
    other = table.model_copy(update={"locator": "file:mine"})
    assert "file:mine" in shown(board.model_copy(update={"tables": (other,)}), 80)[0]


@pytest.mark.parametrize("width", [60, 70, 80, 111])
def test_columns_for_which_there_is_no_room_are_left_out_and_named(cells, width) -> None:
    lines = shown(cells(THREE), width)
    assert max(len(line) for line in lines if not line.startswith(" bench")) <= width
    text = "\n".join(lines)
    left_out = [name for name in ("gain", "perplexity", "capability", "align") if name not in lines[1] + lines[2]]
    assert ("no room for" in text) == bool(left_out)


def test_columns_that_are_asked_for_are_shown_in_their_order(cells) -> None:
    lines = shown(cells(THREE), 120, view=View(columns=("capability", "pairs", "toxicity")))
    assert lines[1].split() == ["capability", "toxicity", "↓"]
    assert lines[2].split()[:6] == ["method", "↑", "Δ", "points", "pairs", "Δ"]
    with pytest.raises(UsageError, match="unknown column 'capabilty'; did you mean 'capability'"):
        shown(cells(THREE), 120, view=View(columns=("capabilty",)))


def test_groups_are_parted_and_what_is_not_shown_is_counted(cells) -> None:
    lines = shown(cells(THREE), 120, view=View(where={"noise": ("0.3",)}, group_by="noise"))
    assert " 4 of 7 rows; ranks and marks are those of the whole board" in lines


def test_both_boards_open_with_the_same_line(cells) -> None:
    board = cells(THREE)
    whole = [line for line in shown(board, 120, notes=True) if line]
    assert whole[0] == shown(board, 120)[0]


def test_preference_accuracy_has_a_column_where_records_have_it(make_record, make_metric) -> None:
    def metrics(gain, accuracy):
        answers = [1.0 if index < accuracy * N else 0.0 for index in range(N)]
        preference = make_metric["toxicity"](answers).model_copy(update={"unit": "accuracy", "higher_is_better": True})
        toxicity = make_metric["toxicity"]([0.4 + 0.2 * random.Random(index).random() - gain for index in range(N)])
        capability = make_metric["capability"]({"boolq": [1.0, 0.0, 1.0, 1.0], "rte": [0.0, 1.0, 1.0, 0.0]})
        perplexity = make_metric["perplexity"]([3.0 + 0.01 * random.Random(index).random() for index in range(9)])
        return {"toxicity": toxicity, "perplexity": perplexity, "capability": capability, "preference": preference}

    records = [make_record("base", metrics=metrics(0.0, 0.5)), make_record("dpo", metrics=metrics(0.1, 0.9), rate=0.3)]
    board = make_leaderboard(records)
    lines = shown(board, 80)
    assert "preference" in lines[1]
    assert "90.0 %" in "\n".join(lines)
    assert max(map(len, lines)) <= 80
