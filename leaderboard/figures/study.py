"""Pictures of a study, each drawn from its chart's rows alone. Imports matplotlib: import only where one is drawn."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from bench.core.values import BASE
from bench.leaderboard.figures.fronts import draw_front
from bench.leaderboard.figures.scatter import draw_seeds, draw_tradeoff
from bench.leaderboard.figures.style import (
    BAND_ALPHA,
    BASE_LINE,
    axis_number,
    base_handle,
    degenerate_handles,
    drawing_style,
    grid,
    legend,
    levels,
    look,
    method_handles,
    metric_title,
    numbers,
    panel_columns,
    percent_text,
    point_handle,
    rows_by,
)
from bench.leaderboard.figures.versus import draw_versus
from bench.leaderboard.study.chart_rows import MEAN, SHARE_OF_BASE, Row
from bench.leaderboard.study.charts import Chart

WIDE_RATIO = 20.0
"""Values that differ more than this many times, as perplexities of broken models do, stand on a logarithmic axis."""
MOST_TICKS = 8
RATE_LABEL = "noise rate (% of pairs)"


def draw_chart(chart: Chart, *, title: bool = True) -> Figure:
    """The picture of a chart; nothing is in it that its rows do not say.

    Arguments:
        title: whether it stands in the picture; a paper's caption takes its place.

    Raises:
        ValueError: the chart has no rows.
    """
    if not chart.rows:
        raise ValueError(f"{chart.stem} has nothing to draw")
    draw: dict[str, Callable[[Chart], Figure]] = {
        "values": _draw_curves,
        "changes": _draw_curves,
        "tradeoff": draw_tradeoff,
        "seeds": draw_seeds,
        "why": _draw_why,
        "versus": draw_versus,
        "front": draw_front,
    }
    with drawing_style():
        figure = draw[chart.kind](chart)
        if title:
            figure.suptitle(chart.title)
    return figure


def _draw_curves(chart: Chart) -> Figure:
    """A panel for each metric: a line a method with its band, a dot a seed, base as a dashed line."""
    metrics = rows_by(chart.rows, "metric")
    figure, panels = grid(len(metrics), columns=panel_columns(len(metrics)), height=2.5)
    for axes, (metric, rows) in zip(panels, metrics.items(), strict=True):
        _draw_base(axes, rows, changes=chart.kind == "changes")
        _draw_methods(axes, rows, chart)
        unit = str(rows[0]["unit"])
        change = "change against base (%)" if unit == SHARE_OF_BASE else "change against base"
        axes.set(title=metric_title(rows[0]), ylabel=change if chart.kind == "changes" else unit)
        _set_heights(axes, chart, metric)
        _set_places(axes, chart)
    legend(figure, _curve_handles(chart))
    return figure


def _draw_base(axes: Axes, rows: Sequence[Row], *, changes: bool) -> None:
    if changes:
        axes.axhline(0.0, **BASE_LINE)
    for row in rows:
        if row["method"] == BASE:
            axes.axhline(axis_number(row, "value"), **BASE_LINE)
            if row["low"] is not None:
                low, high = axis_number(row, "low"), axis_number(row, "high")
                axes.axhspan(low, high, color="0.5", alpha=BAND_ALPHA, linewidth=0, zorder=0.5)


def _draw_methods(axes: Axes, rows: Sequence[Row], chart: Chart) -> None:
    """A method's means with their band, and its seeds where there are several."""
    by_method = rows_by(rows, "method")
    for method in (method for method in chart.methods if method in by_method):
        means = [row for row in by_method[method] if row["seed"] == MEAN]
        seeds = [row for row in by_method[method] if row["seed"] != MEAN]
        style, x = look(chart.methods, method), numbers(means, chart.over)
        _draw_band(axes, x, means, style.colour, style.dashes)
        axes.plot(x, numbers(means, "value"), **style.line)
        if chart.kind != "why":
            hollow = [row for row in means if row["degenerate"]]
            points = {**style.line, "linestyle": "", "markerfacecolor": "w", "zorder": 3.5}
            axes.plot(numbers(hollow, chart.over), numbers(hollow, "value"), **points)
        if len(seeds) > len(means):
            axes.plot(numbers(seeds, chart.over), numbers(seeds, "value"), **_dots(style.colour))


def _draw_band(axes: Axes, x: Sequence[float], rows: Sequence[Row], colour: str, dashes: Any) -> None:
    """Filled, with edges that survive print in grey; a bar where a single point has nothing to span."""
    low, high = numbers(rows, "low"), numbers(rows, "high")
    if len(x) == 1:
        axes.vlines(x, low, high, color=colour, linewidth=1.0, alpha=0.6)
        return
    axes.fill_between(x, low, high, color=colour, alpha=BAND_ALPHA, linewidth=0, zorder=1)
    for ends in (low, high):
        axes.plot(x, ends, color=colour, linestyle=dashes, linewidth=0.6, alpha=0.6, zorder=1)


def _dots(colour: str) -> dict[str, Any]:
    """On top of the means, with a rim that sets them off."""
    rim = {"markeredgecolor": "w", "markeredgewidth": 0.5}
    return {"color": colour, "marker": ".", "markersize": 6, "linestyle": "", "zorder": 4, **rim}


def _curve_handles(chart: Chart) -> list[Any]:
    handles = method_handles(chart.methods, chart.rows)
    if chart.kind == "changes" or any(row["method"] == BASE for row in chart.rows):
        handles.append(base_handle())
    if any(row["low"] is not None for row in chart.rows):
        handles.append(_band_handle("95 % interval"))
    if any(row["seeds"] > 1 for row in chart.rows if isinstance(row["seeds"], int)):
        handles.append(point_handle("one seed", **_dots("0.3")))
    return [*handles, *degenerate_handles(chart.rows)]


def _band_handle(label: str) -> Patch:
    return Patch(color="0.5", alpha=0.35, linewidth=0, label=label)


def _set_heights(axes: Axes, chart: Chart, metric: str) -> None:
    low, high = (chart.spans or {})[metric]
    if chart.kind == "values" and low > 0 and high / low > WIDE_RATIO:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.2, high * 1.2)
        return
    if chart.kind == "changes":
        low, high = min(low, 0.0), max(high, 0.0)
        if axes.get_ylabel().endswith("(%)"):
            axes.yaxis.set_major_formatter(FuncFormatter(percent_text))
    margin = 0.06 * (high - low) or 0.06 * abs(high) or 0.01
    axes.set_ylim(low - margin, high + margin)


def _set_places(axes: Axes, chart: Chart) -> None:
    """Ticks where something was measured; a logarithmic axis for numbers of pairs."""
    places = levels(chart.rows, chart.over)
    if chart.over == "rate":
        set_rate_ticks(axes, places)
        return
    axes.set_xscale("log")
    axes.set_xlabel("preference pairs (log scale)")
    axes.set_xlim(places[0] / 1.15, places[-1] * 1.15)
    axes.set_xticks(_spread(places, math.log(places[-1] / places[0]) / MOST_TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def set_rate_ticks(axes: Axes, rates: Sequence[float]) -> None:
    """A tick at each rate, or at round ones where these are many."""
    if len(rates) <= MOST_TICKS:
        axes.set_xticks(list(rates))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}"))
    axes.set_xlabel(RATE_LABEL)


def _spread(sizes: Sequence[float], least: float) -> list[float]:
    """Sizes whose labels do not touch on a logarithmic axis; the largest is always among them."""
    labelled: list[float] = []
    for size in reversed(sizes):
        if not labelled or math.log(labelled[-1] / size) >= least:
            labelled.append(size)
    return labelled[::-1]


WHY = {
    "subspace angle": ("angle to the subspace without noise", "largest principal angle (degrees)", "range of layers"),
    "reward accuracy": ("reward accuracy on clean held-out pairs", "share of pairs (%)", "95 % interval"),
}
"""Title and vertical axis of each quantity, and what its band is."""


def _draw_why(chart: Chart) -> Figure:
    """Angles with the range of their layers, reward accuracies with Wilson's intervals, against the rate."""
    by_quantity, rates = rows_by(chart.rows, "quantity"), levels(chart.rows, "rate")
    quantities = [name for name in WHY if name in by_quantity]
    figure, panels = grid(len(quantities), columns=2, height=2.7)
    for axes, quantity in zip(panels, quantities, strict=True):
        _draw_methods(axes, by_quantity[quantity], chart)
        title, label, _ = WHY[quantity]
        axes.set(title=title, ylabel=label)
        set_rate_ticks(axes, rates)
        axes.set_xlim(rates[0] - 0.02, rates[-1] + 0.02)
        if quantity == "reward accuracy":
            axes.axhline(0.5, color="0.35", linestyle=":", linewidth=1)
            axes.set_ylim(-0.03, 1.03)
            axes.yaxis.set_major_formatter(FuncFormatter(percent_text))
        else:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_locator(MaxNLocator(6))
    legend(figure, _why_handles(chart, quantities))
    return figure


def _why_handles(chart: Chart, quantities: Sequence[str]) -> list[Any]:
    bands = _band_handle(" | ".join(WHY[quantity][2] for quantity in quantities))
    handles = [*method_handles(chart.methods, chart.rows), bands]
    if len({row["seed"] for row in chart.rows} - {MEAN}) > 1:
        handles.append(point_handle("one seed", **_dots("0.3")))
    if "reward accuracy" in quantities:
        handles.append(Line2D([], [], color="0.35", linestyle=":", linewidth=1, label="coin toss"))
    return handles
