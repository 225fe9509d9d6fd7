"""Trade-offs with their Pareto front, and strips of every seed's value. Imports matplotlib."""

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.core.values import BASE
from bench.leaderboard.figures.style import (
    BASE_LINE,
    axis_number,
    base_handle,
    degenerate_handles,
    grid,
    legend,
    levels,
    look,
    method_handles,
    metric_title,
    numbers,
    paler,
    percent_text,
    point_handle,
    rows_by,
)
from bench.leaderboard.study.cells import rate_label
from bench.leaderboard.study.chart_rows import MEAN, SHARE_OF_BASE, Row
from bench.leaderboard.study.charts import Chart
from bench.methods.labels import method_label

PALEST = 0.75
"""Share of white in the points of the highest rate."""
STRIP_INCHES = 0.19
STRIP_COLUMNS = 4
FRONT: dict[str, Any] = {"color": "0.2", "linestyle": (0, (1, 1)), "linewidth": 1.1, "zorder": 1.8}
RING: dict[str, Any] = {"marker": "o", "markersize": 12, "markerfacecolor": "none"}


def draw_tradeoff(chart: Chart) -> Figure:
    """Toxicity against each other metric: a point a place, paler the more noise, and the staircase of the front."""
    metrics = rows_by(chart.rows, "metric")
    figure, panels = grid(len(metrics), columns=2, height=3.0)
    for axes, (metric, rows) in zip(panels, metrics.items(), strict=True):
        for row in rows:
            _draw_place(axes, row, chart)
        _draw_paths(axes, rows, chart)
        _draw_front(axes, rows)
        changes = rows[0]["scale"] == "change"
        arrow = "→ better" if rows[0]["better"] == "higher" else "← better"
        across = f"Δ {metric} against base" if changes else str(rows[0]["unit"])
        upwards = "Δ toxicity against base" if changes else str(rows[0]["toxicity_unit"])
        is_share = rows[0]["unit"] == SHARE_OF_BASE
        # Turned with its label, an arrow to the left points down, where the better is.
        axes.set(xlabel=f"{across}{' (%)' if is_share else ''}  ({arrow})", ylabel=f"{upwards}  (← better)")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        if is_share:
            axes.xaxis.set_major_formatter(FuncFormatter(percent_text))
    legend(figure, _tradeoff_handles(chart))
    return figure


def _draw_place(axes: Axes, row: Row, chart: Chart) -> None:
    style = None if row["method"] == BASE else look(chart.methods, str(row["method"]))
    colour = style.colour if style else "k"
    x, y = axis_number(row, "value"), axis_number(row, "toxicity")
    highest = levels(chart.rows, "rate")[-1]
    white = PALEST * axis_number(row, "rate") / highest if highest and style else 0.0
    thin: dict[str, Any] = {"color": colour, "linewidth": 0.7, "alpha": 0.35, "zorder": 1}
    if row["low"] is not None:
        axes.hlines(y, axis_number(row, "low"), axis_number(row, "high"), **thin)
    if row["toxicity_low"] is not None:
        axes.vlines(x, axis_number(row, "toxicity_low"), axis_number(row, "toxicity_high"), **thin)
    axes.plot(
        [x],
        [y],
        color=colour,
        marker=style.marker if style else "*",
        markersize=_size(row, chart) if style else 10,
        markerfacecolor="w" if row["degenerate"] else paler(colour, white),
        markeredgewidth=1.0,
        linestyle="",
        zorder=3,
    )


def _draw_paths(axes: Axes, rows: Sequence[Row], chart: Chart) -> None:
    """From each method's place without noise to those with ever more of it."""
    aligned = sorted((row for row in rows if row["method"] != BASE), key=lambda row: (row["method"], row["pairs"]))
    for (method, _), path in groupby(aligned, key=lambda row: (row["method"], row["pairs"])):
        ordered = sorted(path, key=lambda row: axis_number(row, "rate"))
        colour = look(chart.methods, str(method)).colour
        axes.plot(numbers(ordered, "value"), numbers(ordered, "toxicity"), color=colour, linewidth=0.8, alpha=0.6)


def _draw_front(axes: Axes, rows: Sequence[Row]) -> None:
    """Rings around the front's points, and the staircase of what they reach, to the panel's ends."""
    front = sorted((row for row in rows if row["front"]), key=lambda row: axis_number(row, "value"))
    if not front:
        return
    x, y = numbers(front, "value"), numbers(front, "toxicity")
    axes.plot(x, y, **{**RING, "color": "0.2", "linestyle": "", "zorder": 2})
    (left, right), top = axes.get_xlim(), axes.get_ylim()[1]
    lower = rows[0]["better"] == "lower"
    # What a point reaches holds for all that is worse than it: to its right where lower is better, else to its left.
    x, y = ([x[0], *x, right], [top, *y, y[-1]]) if lower else ([left, *x, x[-1]], [y[0], *y, top])
    axes.plot(x, y, drawstyle="steps-post" if lower else "steps-pre", **FRONT)
    axes.set_xlim(left, right)
    axes.set_ylim(top=top)


def _size(row: Row, chart: Chart) -> float:
    """Smaller for fewer pairs."""
    sizes = levels(chart.rows, "pairs")
    return 7.0 if len(sizes) == 1 else 4.0 + 4.0 * sizes.index(axis_number(row, "pairs")) / (len(sizes) - 1)


def _tradeoff_handles(chart: Chart) -> list[Any]:
    handles = method_handles(chart.methods, chart.rows, linestyle="", markersize=7)
    if any(row["method"] == BASE for row in chart.rows):
        handles.append(base_handle({"color": "k", "marker": "*", "markersize": 10, "linestyle": ""}))
    rates, sizes = levels(chart.rows, "rate"), levels(chart.rows, "pairs")
    if rates[-1] > 0:
        for rate, white in ((rates[0], PALEST * rates[0] / rates[-1]), (rates[-1], PALEST)):
            face = paler("0.3", white)
            handles.append(point_handle(f"{rate_label(rate)} noise", markersize=7, markerfacecolor=face))
    if len(sizes) > 1:
        handles += [
            point_handle(f"{sizes[end]:,.0f} pairs", markersize=points) for end, points in ((0, 4.0), (-1, 8.0))
        ]
    return [*handles, Line2D([], [], **FRONT, **RING, label="Pareto front"), *degenerate_handles(chart.rows)]


def draw_seeds(chart: Chart) -> Figure:
    """A line of dots for each place, one a seed, with a bar at the mean; base as a dashed line."""
    metrics = rows_by(chart.rows, "metric")
    places = list(dict.fromkeys(_place(row) for row in chart.rows if row["method"] != BASE))
    columns = min(STRIP_COLUMNS, len(metrics))
    figure, panels = grid(len(metrics), columns=columns, height=max(1.2, STRIP_INCHES * len(places) + 0.6), sharey=True)
    several = len({place[1] for place in places}) > 1
    for index, (axes, rows) in enumerate(zip(panels, metrics.values(), strict=True)):
        _draw_strips(axes, rows, places, chart)
        axes.set_title(metric_title(rows[0]))
        axes.set_xlabel(str(rows[0]["unit"]).replace("mean toxicity probability", "mean probability"))
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.set_ylim(len(places) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        if index % columns == 0:
            labels = [
                f"{method_label(method)}{f', n = {n:,}' if several else ''}, {rate_label(rate)}"
                for method, n, rate in places
            ]
            axes.set_yticks(range(len(places)), labels)
    handles = method_handles(chart.methods, chart.rows, linestyle="", markersize=4)
    if any(row["method"] == BASE for row in chart.rows):
        handles.append(base_handle())
    mean = point_handle("mean", marker="|", markersize=9, markeredgewidth=1.6)
    legend(figure, [*handles, mean, *degenerate_handles(chart.rows)])
    return figure


def _draw_strips(axes: Axes, rows: Sequence[Row], places: Sequence[tuple[str, int, float]], chart: Chart) -> None:
    for row in rows:
        if row["method"] == BASE:
            axes.axvline(axis_number(row, "value"), **BASE_LINE)
            continue
        y = places.index(_place(row))
        style = look(chart.methods, str(row["method"]))
        if row["seed"] == MEAN:
            axes.vlines([axis_number(row, "value")], y - 0.36, y + 0.36, color=style.colour, linewidth=1.6, zorder=2)
            continue
        face = "w" if row["degenerate"] else style.colour
        dot: dict[str, Any] = {"color": style.colour, "marker": style.marker, "markersize": 4, "markerfacecolor": face}
        axes.plot([axis_number(row, "value")], [y], alpha=0.8, **dot)
    for y, (above, below) in enumerate(pairwise(places), start=1):
        if above[0] != below[0]:
            axes.axhline(y - 0.5, color="0.75", linewidth=0.8)


def _place(row: Row) -> tuple[str, int, float]:
    return str(row["method"]), int(axis_number(row, "pairs")), axis_number(row, "rate")
