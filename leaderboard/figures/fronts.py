"""What settings of methods buy in toxicity and cost in perplexity, with those to report. Imports matplotlib."""

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
    numbers,
    percent_text,
    point_handle,
    rows_by,
)
from bench.leaderboard.study.chart_rows import Row
from bench.leaderboard.study.charts import Chart

RING: dict[str, Any] = {"marker": "o", "markersize": 13, "markerfacecolor": "none", "color": "0.1", "linestyle": ""}
FRONT: dict[str, Any] = {"color": "0.5", "linestyle": "-", "linewidth": 3.0, "alpha": 0.35, "zorder": 0.5}
BOUND: dict[str, Any] = {"color": "0.2", "linestyle": (0, (1, 1.2)), "linewidth": 1.2}


def draw_front(chart: Chart) -> Figure:
    """A panel for what settings were chosen by, and one for what they were then measured on: a point a setting."""
    parts = rows_by(chart.rows, "part")
    figure, panels = grid(len(parts), columns=2, height=3.0, sharey=True)
    for index, (axes, (part, rows)) in enumerate(zip(panels, parts.items(), strict=True)):
        axes.axhline(0, **BASE_LINE)
        axes.axvline(0, **BASE_LINE)
        for method, own in rows_by(rows, "method").items():
            _draw_method(axes, own, look(chart.methods, method).line)
        first = sorted((row for row in rows if row["front"]), key=lambda row: axis_number(row, "perplexity"))
        axes.plot(numbers(first, "perplexity"), numbers(first, "toxicity"), drawstyle="steps-post", **FRONT)
        if rows[0]["bound"] is not None and index == 0:
            axes.axvline(axis_number(rows[0], "bound"), **BOUND)
        axes.set(title=f"what settings are {part}", xlabel="Δ perplexity against base (%)  (← better)")
        if index == 0:
            axes.set_ylabel("Δ toxicity against base  (← better)")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(percent_text))
    handles = [point_handle(method, **{**look(chart.methods, method).line}) for method in chart.methods]
    handles.append(point_handle("not within the bound", markerfacecolor="w"))
    if any(row["chosen"] for row in chart.rows):
        handles.append(point_handle("operating point", **RING))
    lines = {"bound on perplexity": BOUND, "Pareto front": FRONT}
    legend(figure, [*handles, *(point_handle(label, **{**line, "marker": ""}) for label, line in lines.items())])
    return figure


def _draw_method(axes: Axes, rows: list[Row], line: dict[str, Any]) -> None:
    """From the setting that costs least to the one that costs most, as when they were chosen."""
    thin: dict[str, Any] = {"color": line["color"], "linewidth": 0.7, "alpha": 0.4, "zorder": 1}
    axes.plot(numbers(rows, "perplexity"), numbers(rows, "toxicity"), **{**line, "marker": "", "linewidth": 0.9})
    for row in rows:
        x, y = axis_number(row, "perplexity"), axis_number(row, "toxicity")
        if row["perplexity_low"] is not None:
            axes.hlines(y, axis_number(row, "perplexity_low"), axis_number(row, "perplexity_high"), **thin)
        if row["toxicity_low"] is not None:
            axes.vlines(x, axis_number(row, "toxicity_low"), axis_number(row, "toxicity_high"), **thin)
        face = line["color"] if row["allowed"] else "w"
        axes.plot([x], [y], **{**line, "linestyle": "", "markerfacecolor": face})
        values = ", ".join(part.partition("=")[2] or part for part in str(row["setting"]).split(", "))
        axes.annotate(values, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=6.5)
        if row["chosen"]:
            axes.plot([x], [y], **RING)
