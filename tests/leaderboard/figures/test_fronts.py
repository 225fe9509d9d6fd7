"""The picture of settings: two parts, the bound, and rings round what is reported."""

from __future__ import annotations

import pytest

from bench.leaderboard.figures.study import draw_chart
from bench.leaderboard.study.charts import Chart

pytestmark = pytest.mark.slow


def row(part, rank, perplexity, toxicity, *, chosen=False, allowed=True):
    return {
        "part": part,
        "method": "profs",
        "setting": f"rank={rank}",
        "pairs": 200,
        "perplexity": perplexity,
        "perplexity_low": None,
        "perplexity_high": None,
        "toxicity": toxicity,
        "toxicity_low": toxicity - 0.01,
        "toxicity_high": toxicity + 0.01,
        "allowed": allowed,
        "chosen": chosen,
        "front": part == "chosen by",
        "bound": 0.05,
    }


def test_every_setting_is_drawn_in_both_parts_and_the_one_to_report_has_a_ring():
    rows = (
        row("chosen by", 1, 0.01, -0.05),
        row("chosen by", 2, 0.03, -0.1, chosen=True),
        row("chosen by", 8, 0.2, -0.2, allowed=False),
        row("measured on", 2, 0.02, -0.08, chosen=True),
    )
    figure = draw_chart(Chart("front", "front", "Settings", rows, ("profs",)))
    choice, evaluation = figure.axes
    assert [text.get_text() for text in choice.texts] == ["1", "2", "8"]
    rings = [
        [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.get_lines() if line.get_markersize() == 13]
        for axes in (choice, evaluation)
    ]
    assert rings == [[(0.03, -0.1)], [(0.02, -0.08)]]
    points = [line for line in choice.get_lines() if line.get_marker() == "o" and line.get_markersize() == 5]
    assert [line.get_markerfacecolor() == "w" for line in points] == [False, False, True]
    assert [list(line.get_xdata()) for line in choice.get_lines()].count([0.05, 0.05]) == 1
