"""The terminal shows the page's numbers, within the width there is."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from leaderboard.export import read_leaderboard
from leaderboard.table import make_leaderboard
from leaderboard.terminal import TerminalBoard

DATA = Path(__file__).parent / "data"


def shown(board, width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(TerminalBoard(board))
    return console.file.getvalue()


def numbers(text):
    """Intervals, which name their value: the same in every view."""
    return set(re.findall(r"\[[−+]?\d[^\]]*\]", text.replace("\u00a0", " ")))


@pytest.mark.parametrize("width", [80, 100, 134, 200])
def test_every_interval_of_the_page_is_shown_whole_at_any_width(width):
    text = shown(read_leaderboard(DATA), width)
    assert numbers(text) == numbers((DATA / "leaderboard.md").read_text(encoding="utf-8"))
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


def test_flags_and_verdicts_are_words_and_signs_not_colours_alone():
    text = shown(read_leaderboard(DATA), 80)
    assert " ! dpo, 200 pairs, 30 % noise: chosen-logprob-collapse; toxicity: 2 empty" in text
    assert "✓" in text
    assert "✗" in text


def test_wide_puts_a_value_beside_its_interval():
    assert re.search(r"0\.\d{3} \[0\.", shown(read_leaderboard(DATA), 134))
    assert not re.search(r"0\.\d{3} \[0\.", shown(read_leaderboard(DATA), 80))


def test_nothing_yet():
    assert "No finished cell yet." in shown(make_leaderboard([]), 80)


def test_names_are_not_read_as_markup(make_record, make_metric):
    record = make_record("[red]x[/red]", metrics={"toxicity": make_metric["toxicity"]([0.1, 0.2])}, cell_id="markup")
    assert "[red]x[/red]" in shown(make_leaderboard([record]), 100)


def test_missing_and_unpaired_are_dashes(make_record, make_metric):
    toxicity, perplexity = make_metric["toxicity"], make_metric["perplexity"]
    base = make_record("base", metrics={"toxicity": toxicity([0.1, 0.2]), "perplexity": perplexity([3.0, 3.1])})
    other = make_record("dpo", metrics={"toxicity": toxicity([0.1, 0.2], ids="others")})
    text = shown(make_leaderboard([base, other]), 80)
    assert "–¹" in text
    assert "¹: no change can be given: measured on different items." in text
