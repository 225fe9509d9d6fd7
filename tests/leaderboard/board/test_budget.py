"""The budget: what rows were given and took, side by side, with dashes for what nobody knows."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.board.values import Row
from bench.leaderboard.records.ledger import Ledger, TuningNote
from bench.leaderboard.records.record import Record
from bench.leaderboard.render.markdown import board_page
from bench.leaderboard.render.notes import MEANINGS, known_flags
from bench.leaderboard.render.numbers import energy_text, rough_count_text
from bench.leaderboard.render.terminal import TerminalBoard
from bench.methods.labels import method_label

Make = Callable[..., Record]
VALUES = [0.1, 0.4, 0.2, 0.9]


@pytest.fixture
def make(make_record: Callable[..., Record], make_metric: Any) -> Make:
    """`make(method, tuned=…, ledger={…}, **changes)`; a ledger of None is that of an old record."""

    def record(
        method: str = "dpo",
        tuned: TuningNote | None = None,
        ledger: dict[str, Any] | None = None,
        diagnostic_seconds: float = 0.0,
        **changes: Any,
    ) -> Record:
        found = make_record(method, metrics={"toxicity": make_metric["toxicity"](VALUES)}, **changes)
        seconds = found.cost.align_seconds
        nothing = dict.fromkeys(Ledger.model_fields)
        whole = None if ledger is None else Ledger(**(nothing | DEFAULT | {"energy_seconds": seconds} | ledger))
        return found.model_copy(
            update={
                "ledger": whole,
                "method": found.method.model_copy(update={"tuned": tuned}),
                "alignment": found.alignment.model_copy(update={"diagnostic_seconds": diagnostic_seconds}),
            }
        )

    return record


DEFAULT = {"seconds": 12.0, "peak_rss_bytes": 2**30}


def row(*records: Record) -> Row:
    (table,) = make_leaderboard(records).tables
    (found,) = (row for row in table.rows if not row.is_base)
    return found


def page_cells(text: str, heading: str, method: str) -> dict[str, str]:
    """The cells of a method's row in the table below a heading, by column title."""
    lines = [line for line in text.partition(heading)[2].split("\n\n")[1].splitlines() if line.startswith("|")]
    rows = [[cell.strip().replace("\u00a0", " ") for cell in line.split("|")[1:-1]] for line in lines]
    return dict(zip(rows[0], next(row for row in rows if row[0].startswith(method_label(method))), strict=True))


def test_seeds_are_averaged_and_memory_is_the_highest(make: Make) -> None:
    first = {"steps": 10, "tokens_trained": 100, "tokens_forward": 30, "energy_joules": 5.0, "peak_rss_bytes": 7}
    second = {"steps": 20, "tokens_trained": 300, "tokens_forward": 30, "energy_joules": 7.0, "peak_rss_bytes": 9}
    budget = row(make(seed=0, ledger=first), make(seed=1, ledger=second)).budget
    assert (budget.steps, budget.tokens_trained, budget.tokens_forward, budget.energy_joules) == (15, 200, 30, 6)
    assert budget.peak_rss_bytes == 9


def test_a_mean_over_some_seeds_is_none(make: Make) -> None:
    budget = row(make(seed=0, ledger={"steps": 10, "energy_joules": 5.0}), make(seed=1, ledger={"steps": 10})).budget
    assert (budget.steps, budget.energy_joules) == (10, None)
    budget = row(make(seed=0, ledger={"steps": 10}), make(seed=1)).budget
    assert (budget.steps, budget.peak_rss_bytes) == (None, None)


@pytest.mark.parametrize(
    ("seconds", "diagnostics", "measured", "own"),
    [(10, 0, 10, True), (10, 0.9, 10.9, True), (10, 2, 12, False), (10, 0, 5, False), (10, 3, 10, False)],
)
def test_energy_that_is_not_all_the_methods_own_is_marked(
    seconds: float, diagnostics: float, measured: float, own: bool, make: Make
) -> None:
    ledger = {"seconds": seconds, "energy_seconds": measured, "energy_joules": 512, "energy_source": "RAPL package-0"}
    records = [make("base"), make(ledger=ledger, diagnostic_seconds=diagnostics)]
    text = board_page(make_leaderboard(records))
    assert page_cells(text, "### Budget", "dpo")["energy"] == ("512 J" if own else "~512 J")
    assert ("more than a tenth of the time" in text) is not own
    assert "all that RAPL package-0 took while the method ran" in text


def test_the_page_shows_the_budget_and_dashes(make: Make) -> None:
    ledger = {"steps": 47, "tokens_trained": 104_000, "tokens_forward": 9_600, "energy_missing": "no counter here"}
    records = [
        make("base", ledger={}),
        make(ledger=ledger, tuned=TuningNote(trials=20, seconds=90)),
        make("profs", device="cpu"),
    ]
    text = board_page(make_leaderboard(records))
    assert page_cells(text, "### Budget", "dpo") == {
        "method": "DPO",
        "pairs": "200",
        "noise": "0 %",
        "steps": "47",
        "tokens trained": "104k",
        "tokens read": "9.6k",
        "trials": "20",
        "tuning time": "1 min 30 s",
        "align time": "12 s",
        "align memory": "1.0 GiB",
        "device": "cpu",
    }
    old = page_cells(text, "### Budget", "profs")
    assert {old[name] for name in ("steps", "tokens trained", "tokens read", "trials", "align memory")} == {"–"}
    assert page_cells(text, "### Budget", "base")["align memory"] == "–"
    assert page_cells(text, "## synthetic-model", "dpo")["trials"] == "20"
    assert page_cells(text, "## synthetic-model", "profs")["trials"] == "–"
    assert "- **Energy:** not counted: no counter here." in text
    alone = board_page(make_leaderboard([make("base", ledger={})]))
    assert "### Budget" not in alone
    assert "trials" not in alone


@pytest.mark.parametrize("width", [80, 100, 134])
def test_the_terminal_shows_the_same_budget(width: int, make: Make) -> None:
    ledger = {"steps": 1_047, "tokens_trained": 1_040_000, "tokens_forward": 9_600}
    ledger |= {"peak_device_bytes": 2**35, "energy_joules": 12_300.0, "energy_source": "NVML X"}
    tuned = TuningNote(trials=20, seconds=4_000)
    devices = {"device": "cuda: NVIDIA H200"}
    records = [make("base", ledger={}, **devices), make(ledger=ledger, tuned=tuned, align_seconds=4000, **devices)]
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(TerminalBoard(make_leaderboard(records)))
    text = console.file.getvalue()
    budget = text.partition("budget on cuda: NVIDIA H200")[2].partition("Reading:")[0]
    for part in ("1,047", "1.0M", "9.6k", "1 h 7 min", "20", "1.0 GiB", "32.0 GiB", "~12.3 kJ", "0 % noise"):
        assert part in budget, part
    assert max(map(len, text.splitlines())) <= width
    assert "trials" in text.partition("budget on")[0]


def test_rows_of_different_tuning_stay_apart_and_say_so(make: Make) -> None:
    records = [
        make(cell_id="a", tuned=TuningNote(trials=17)),
        make(cell_id="b", tuned=TuningNote(trials=4)),
        make(cell_id="c"),
    ]
    (table,) = make_leaderboard(records).tables
    assert sorted(row.settings["trials"] for row in table.rows) == ["17", "4", "not stated"]
    assert [row.budget.trials for row in table.rows] == [17, 4, None]
    alike = [
        make(cell_id="a", tuned=TuningNote(trials=4, seconds=1)),
        make(cell_id="b", tuned=TuningNote(trials=4, seconds=2)),
    ]
    (table,) = make_leaderboard(alike).tables
    assert len({row.settings["tuning sha"] for row in table.rows}) == 2


def test_what_tuning_holds_for_makes_no_row_of_its_own(make: Make) -> None:
    named = TuningNote(trials=4, model="smollm2-135m", model_fingerprint="3f", pairs="on-policy")
    (table,) = make_leaderboard([make(cell_id="a", tuned=TuningNote(trials=4)), make(cell_id="b", tuned=named)]).tables
    assert len(table.rows) == 1


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "–"),
        (0, "0"),
        (950, "950"),
        (999.6, "1.0k"),
        (9_600, "9.6k"),
        (99_960, "100k"),
        (999_600, "1.0M"),
        (2e9, "2.0G"),
    ],
)
def test_rough_counts(count: float | None, text: str) -> None:
    assert rough_count_text(count) == text


@pytest.mark.parametrize(
    ("joules", "text"),
    [(None, "–"), (0.4, "0.4 J"), (512, "512 J"), (999.7, "1.0 kJ"), (1.23e6, "1.2 MJ"), (5e12, "5000 GJ")],
)
def test_energies(joules: float | None, text: str) -> None:
    assert energy_text(joules) == text


def test_flags_are_explained_where_they_occur(make: Make) -> None:
    text = board_page(make_leaderboard([make("base"), make(flags=["no-held-out-gain", "of-a-plug-in"])]))
    assert f"- **no-held-out-gain:** {MEANINGS['no-held-out-gain']}" in text
    assert "**no-validation-gain:**" not in text
    assert "**of-a-plug-in:**" not in text
    assert set(known_flags(["toxicity: 1,234 empty", "perplexity: 3 diverged", "toxicity: mostly-unscored"])) == {
        "empty",
        "diverged",
        "mostly-unscored",
    }
