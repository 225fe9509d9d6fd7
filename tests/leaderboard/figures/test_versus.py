"""Pictures of methods against each other: what is told apart is filled, in the better method's colour."""

from __future__ import annotations

import pytest
from matplotlib.colors import to_hex

from bench.leaderboard.figures.study import draw_chart
from bench.leaderboard.figures.style import COLOURS
from bench.leaderboard.figures.versus import UNTOLD
from bench.leaderboard.study.charts import Chart

pytestmark = pytest.mark.slow


def row(rate, gap, better, by_noise=None):
    return {
        "metric": "toxicity",
        "unit": "difference in mean toxicity probability",
        "better": "lower",
        "first": "dpo",
        "second": "profs",
        "noise": "flip" if rate else None,
        "rate": rate,
        "pairs": 200,
        "gap": gap,
        "gap_low": gap - 0.01,
        "gap_high": gap + 0.01,
        "gap_better": better,
        "by_noise": by_noise,
        "by_noise_low": None,
        "by_noise_high": None,
        "by_noise_better": None,
    }


def test_each_pair_is_drawn_where_its_row_says():
    rows = (row(0.3, 0.05, "second", 0.15), row(0.0, -0.1, "first"), row(0.5, 0.005, None, 0.1))
    figure = draw_chart(Chart("versus", "versus", "Methods against each other", rows, ("dpo", "profs")))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "DPO − ProFS, 0 %",
        "DPO − ProFS, 30 %",
        "DPO − ProFS, 50 %",
    ]
    drawn = {
        (float(line.get_xdata()[0]), line.get_marker()): (line.get_color(), to_hex(line.get_markerfacecolor()))
        for line in axes.get_lines()
        if line.get_marker() in ("o", "D")
    }
    assert drawn == {
        (-0.1, "o"): (COLOURS[0], COLOURS[0]),
        (0.05, "o"): (COLOURS[1], COLOURS[1]),
        (0.15, "D"): (UNTOLD, "#ffffff"),
        (0.005, "o"): (UNTOLD, "#ffffff"),
        (0.1, "D"): (UNTOLD, "#ffffff"),
    }
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "first − second",
        "by the noise",
        "DPO better",
        "ProFS better",
    ]
