"""The picture of `bench analyse overlap`: the share of the DPO gradient in each subspace, block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]

PANELS: Mapping[str, str] = {
    "same": "ProFS, same pairs",
    "held_out": "ProFS, held-out pairs",
    "rematched": "control: texts of the same pairs, re-matched",
    "held_out_rematched": "control: texts of the held-out pairs, re-matched",
}
"""By the name of the column."""
MARKERS = "os^Dv"


def draw_overlap(rows: Sequence[Row], *, expected: float, title: str) -> Figure:
    """Four panels of one scale: a line for each number of pairs, over the band of random subspaces.

    Arguments:
        rows: `layers` of overlap.json.
        expected: √(k/D).
        title: the model and the rank.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(2, 2, sharex=True, sharey=True).flat)
    for axes, (column, name) in zip(panels, PANELS.items(), strict=True):
        _draw_panel(axes, rows, column, expected)
        axes.set_title(name, fontsize=10)
    panels[0].set_ylim(bottom=0)
    for axes in panels[2:]:
        axes.set_xlabel("block")
    figure.supylabel("share of the first DPO gradient, ‖VG‖ / ‖G‖", fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    figure.suptitle(f"How much of the first DPO gradient lies in a subspace: {title}", fontsize=11)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the name ends in; the same figure gives the same bytes."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "overlap"}):
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_panel(axes: Axes, rows: Sequence[Row], column: str, expected: float) -> None:
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    sizes = sorted({row["n_pairs"] for row in rows})
    colours = colormaps["viridis"]  # ordered like the sizes, and told apart without colour vision
    layers = sorted({row["layer"] for row in rows})
    band = [[row["random"] for row in rows if row["layer"] == layer] for layer in layers]
    lows, highs = (
        [pick(spread[end] for spread in found) for found in band] for pick, end in ((min, "low"), (max, "high"))
    )
    axes.fill_between(layers, lows, highs, color="0.85", linewidth=0, label="random subspaces, all draws")
    axes.axhline(expected, color="0.3", linestyle="--", linewidth=1, label="expected at random, √(k/D)")
    if all(row[column] is None for row in rows):
        axes.text(0.5, 0.5, "too few pairs", transform=axes.transAxes, ha="center", color="0.4")
    for index, size in enumerate(sizes):
        measured = [(row["layer"], _height(row[column])) for row in rows if row["n_pairs"] == size]
        points = [(layer, share) for layer, share in measured if share is not None]
        axes.plot(
            [layer for layer, _ in points],
            [share for _, share in points],
            color=colours(0.85 * (1 - index / max(1, len(sizes) - 1))),
            marker=MARKERS[index % len(MARKERS)],
            markersize=3.5,
            linewidth=1.5,
            label=f"{size} pairs",
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _height(value: Any) -> float | None:
    """A share, or the mean of its draws."""
    height: float | None = value["mean"] if isinstance(value, dict) else value
    return height
