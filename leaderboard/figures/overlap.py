"""The picture of `bench analyse overlap`: the share of the DPO gradient in each subspace, block by block."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.leaderboard.figures.style import MARKERS, drawing_style, shades

PANELS: Mapping[str, str] = {
    "same": "ProFS, same pairs",
    "held_out": "ProFS, held-out pairs",
    "rematched": "control: texts of the same pairs, re-matched",
    "held_out_rematched": "control: texts of the held-out pairs, re-matched",
}
"""By the name of the column."""


def draw_overlap(rows: Sequence[Mapping[str, Any]], *, expected: float, title: str) -> Figure:
    """Four panels of one scale: a line for each number of pairs, over the band of random subspaces.

    Arguments:
        rows: `layers` of overlap.json.
        expected: √(k/D).
        title: the model and the rank.
    """
    with drawing_style():
        figure = Figure(figsize=(9.5, 6.5))
        panels = list(figure.subplots(2, 2, sharex=True, sharey=True).flat)
        for axes, (column, name) in zip(panels, PANELS.items(), strict=True):
            _draw_panel(axes, rows, column, expected)
            axes.set_title(name)
        panels[0].set_ylim(bottom=0)
        for axes in panels[2:]:
            axes.set_xlabel("block")
        figure.supylabel("share of the first DPO gradient, ‖VG‖ / ‖G‖")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
        figure.suptitle(f"How much of the first DPO gradient lies in a subspace: {title}")
    return figure


def _draw_panel(axes: Axes, rows: Sequence[Mapping[str, Any]], column: str, expected: float) -> None:
    sizes, layers = (sorted({row[name] for row in rows}) for name in ("n_pairs", "layer"))
    random = [[row["random"] for row in rows if row["layer"] == layer] for layer in layers]
    lows, highs = (
        [pick(spread[end] for spread in spreads) for spreads in random] for pick, end in ((min, "low"), (max, "high"))
    )
    axes.fill_between(layers, lows, highs, color="0.85", linewidth=0, label="random subspaces, all draws")
    axes.axhline(expected, color="0.3", linestyle="--", linewidth=1, label="expected at random, √(k/D)")
    if all(row[column] is None for row in rows):
        axes.text(0.5, 0.5, "too few pairs", transform=axes.transAxes, ha="center", color="0.4")
    for index, (size, colour) in enumerate(zip(sizes, reversed(shades(len(sizes))), strict=True)):
        measured = [row for row in rows if row["n_pairs"] == size and row[column] is not None]
        axes.plot(
            [row["layer"] for row in measured],
            [share["mean"] if isinstance(share := row[column], Mapping) else share for row in measured],
            color=colour,
            marker=MARKERS[index % len(MARKERS)],
            markersize=3.5,
            linewidth=1.5,
            label=f"{size} pairs",
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", visible=False)
