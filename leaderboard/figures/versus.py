"""Methods against each other: a line a pair and noise rate, with differences and intervals. Imports matplotlib."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.leaderboard.figures.style import (
    BASE_LINE,
    axis_number,
    grid,
    legend,
    look,
    metric_title,
    panel_columns,
    percent_text,
    point_handle,
    rows_by,
)
from bench.leaderboard.study.cells import rate_label
from bench.leaderboard.study.chart_rows import Row
from bench.leaderboard.study.charts import Chart
from bench.leaderboard.study.versus import SHARE_OF_SECOND, line_of
from bench.methods.labels import method_label

LINE_INCHES = 0.3
APART = 0.17
"""By which the two numbers of a line stand above and below it."""
UNTOLD = "0.45"
MARKS = {"gap": "o", "by_noise": "D"}


def draw_versus(chart: Chart) -> Figure:
    """A panel for each metric; what is told apart is filled, in the colour of the better method."""
    metrics = rows_by(chart.rows, "metric")
    lines = sorted(set(map(line_of, chart.rows)))
    columns = min(panel_columns(len(metrics)), len(metrics))
    height = max(1.2, LINE_INCHES * len(lines) + 0.6)
    figure, panels = grid(len(metrics), columns=columns, height=height, sharey=True, besides=1.0)
    for index, (axes, rows) in enumerate(zip(panels, metrics.values(), strict=True)):
        axes.axvline(0, **BASE_LINE)
        for row in rows:
            _draw_line(axes, row, lines.index(line_of(row)), chart)
        is_share = rows[0]["unit"] == SHARE_OF_SECOND
        axes.set(title=metric_title(rows[0]), xlabel=f"first − second{' (%)' if is_share else ''}")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        if is_share:
            axes.xaxis.set_major_formatter(FuncFormatter(percent_text))
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        _part_pairs(axes, lines)
        if index % columns == 0:
            axes.set_yticks(range(len(lines)), _labels(lines))
    legend(figure, _handles(chart))
    return figure


def _draw_line(axes: Axes, row: Row, y: int, chart: Chart) -> None:
    both = row["by_noise"] is not None
    for name, marker in MARKS.items():
        if row[name] is None:
            continue
        height = y if not both else y - APART if name == "gap" else y + APART
        winner = row[f"{name}_better"]
        colour: Any = look(chart.methods, str(row[str(winner)])).colour if winner else UNTOLD
        if row[f"{name}_low"] is not None:
            axes.hlines(height, axis_number(row, f"{name}_low"), axis_number(row, f"{name}_high"), color=colour)
        face = colour if winner else "w"
        axes.plot([axis_number(row, name)], [height], color=colour, marker=marker, markersize=5, markerfacecolor=face)


def _labels(lines: Sequence[tuple[str, str, int, float]]) -> list[str]:
    several = len({n_pairs for _, _, n_pairs, _ in lines}) > 1
    return [
        f"{method_label(first)} − {method_label(second)}{f', n = {n_pairs:,}' if several else ''}, {rate_label(rate)}"
        for first, second, n_pairs, rate in lines
    ]


def _part_pairs(axes: Axes, lines: Sequence[tuple[str, str, int, float]]) -> None:
    end = 0
    for _, alike in groupby(lines, key=lambda line: line[:2]):
        end += len(list(alike))
        if end < len(lines):
            axes.axhline(end - 0.5, color="0.75", linewidth=0.8)


def _handles(chart: Chart) -> list[Any]:
    winners = {str(row[str(row[f"{name}_better"])]) for row in chart.rows for name in MARKS if row[f"{name}_better"]}
    handles = [point_handle("first − second", markerfacecolor="w", color=UNTOLD)]
    if any(row["by_noise"] is not None for row in chart.rows):
        handles.append(point_handle("by the noise", marker=MARKS["by_noise"], markerfacecolor="w", color=UNTOLD))
    better = [method for method in chart.methods if method in winners]
    return [
        *handles,
        *(
            point_handle(f"{method_label(method)} better", color=look(chart.methods, method).colour)
            for method in better
        ),
    ]
