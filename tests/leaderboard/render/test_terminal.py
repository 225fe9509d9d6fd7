"""The terminal shows the page's numbers, within the width there is."""

from __future__ import annotations

import io
import random
import re
from pathlib import Path

import pytest
from rich.console import Console

from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.export import read_leaderboard
from bench.leaderboard.render.markdown import board_page
from bench.leaderboard.render.section import Section
from bench.leaderboard.render.terminal import TerminalBoard
from bench.leaderboard.render.text import TerminalSections

DATA = Path(__file__).parents[1] / "data"


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
    assert " ! DPO, 200 pairs, 30 % noise: chosen-logprob-collapse; toxicity: 2 empty" in text
    assert "✓" in text
    assert "✗" in text


def test_wide_puts_a_value_beside_its_interval():
    assert re.search(r"0\.\d{3} \[0\.", shown(read_leaderboard(DATA), 134))
    assert not re.search(r"0\.\d{3} \[0\.", shown(read_leaderboard(DATA), 80))


def test_ranks_stand_before_values_only_where_rows_can_be_told_apart():
    text = shown(read_leaderboard(DATA), 80)
    assert re.search(r"#3 46\.6", text)
    assert re.search(r"#1–2 28\.3", text)
    assert not re.search(r"#\d+=? 0\.", text)  # toxicity: all share the first rank
    assert "Rank: The ranks that a row may have (# on a terminal" in " ".join(text.split())


def test_verdicts_are_shown_with_their_intervals():
    text = shown(read_leaderboard(DATA), 80)
    assert re.search(r"FAIL +INCONCLUSIVE", text) or re.search(r"FAIL +PASS", text)
    assert "PASS: the 90 % interval lies on the good side" in " ".join(text.split())


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


SCORERS = (
    "toxicity [linear]",
    "toxicity [bilstm, label=identity_hate]",
    "toxicity [words, path=/home/someone/list.txt]",
)
GUARDS = ("distinct_1", "distinct_2", "distinct_3", "repetition", "mean_tokens", "empty_rate", "ended_rate")
GUARDS += ("base_perplexity", "kl_to_base", "kl_tokens")


@pytest.fixture
def many_metrics(make_record, make_metric):
    """Base and a row with six columns, three of them with scorers in their names."""
    generator = random.Random(0)

    def metrics():
        scores = [[generator.random() for _ in range(20)] for _ in range(5)]
        toxicity = make_metric["toxicity"]
        tasks = {f"task_number_{index}": [0.0, 1.0, 1.0, 0.0] for index in range(14)}
        return {
            "toxicity": toxicity(scores[0]).model_copy(update={"details": {"guards": dict.fromkeys(GUARDS, 0.125)}}),
            **{name: toxicity(values) for name, values in zip(SCORERS, scores[1:], strict=False)},
            "perplexity": make_metric["perplexity"](scores[4]),
            "capability": make_metric["capability"](tasks),
        }

    evaluation = {name: {"settings": name} for name in metrics()}
    return make_leaderboard([make_record(name, metrics=metrics(), evaluation=evaluation) for name in ("base", "dpo")])


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_many_columns_go_into_further_tables_of_which_each_names_its_rows(many_metrics, width):
    text = shown(many_metrics, width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert numbers(text) == numbers(board_page(many_metrics))
    heads = [line for line in text.splitlines() if line.startswith(" method ")]
    for head in heads:
        below = text.splitlines()[text.splitlines().index(head) :]
        assert below[2].startswith(" base ")
        assert any(line.startswith(" DPO ") for line in below[:12])
    assert all(name in text for name in ("distinct-1", "repeating", "tokens"))  # none folded within the word
    assert len(heads) >= (4 if width == 80 else 3)


def test_columns_name_their_scorers(many_metrics):
    heads = "".join(shown(many_metrics, 200).split("base")[0].split())
    assert all(part in heads for part in ("[linear]", "[bilstm,", "label=identity_hate]", "[words,"))


def test_titles_with_brackets_are_no_markup():
    console = Console(file=io.StringIO(), width=80, color_system=None)
    section = Section(
        "Improved most, by toxicity [linear]", ("scorer [bold]", "n"), (("hf:organisation/name#label [x]", "1"),)
    )
    console.print(TerminalSections([section]))
    assert all(part in console.file.getvalue() for part in ("by toxicity [linear]", "scorer [bold]", "[x]"))
