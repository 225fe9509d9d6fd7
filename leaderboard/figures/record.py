"""Pictures of one record."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from operator import attrgetter
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.core.reports import Curves, HeldOutReport, LayerReport
from bench.leaderboard.figures.style import COLOURS, WIDTH, drawing_style, grid, shades
from bench.leaderboard.records.record import Record
from bench.leaderboard.records.reports import held_out_report, layer_reports, training_curves
from bench.methods.labels import method_label

Layers = Sequence[LayerReport]
Panel = Callable[[Axes], None]

LINE: Mapping[str, Any] = {"color": COLOURS[0], "marker": "o", "markersize": 4, "linewidth": 1.2}
AFTER: dict[str, Any] = {"color": "k", "marker": "D", "markersize": 5, "linestyle": "", "clip_on": False, "zorder": 3}
ROUNDING_DEGREES = 1e-3
STRETCHES = 12
"""That a course is averaged over, about, where it has at least twice as many points."""


def draw_record(record: Record) -> Figure:
    """Up to four panels of an edit: spectra, energy, size of change, angles. Up to six of a training's curves.

    Raises:
        ValueError: there is nothing to draw; `bench.leaderboard.inspection.sections.drawable` tells before.
    """
    layers, curves = layer_reports(record), training_curves(record)
    with drawing_style():
        if layers:
            panels = _edit_panels(layers)
        elif curves:
            panels = _curve_panels(curves, held_out_report(record))
        else:
            raise ValueError(f"there is nothing to draw of {record.cell_id}")
        figure, places = grid(len(panels), columns=2, height=2.6, one_wide=WIDTH / 2, besides=0.3)
        for panel, axes in zip(panels, places, strict=True):
            panel(axes)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        data = record.data
        noise = f", {100 * data.noise.rate:g} % noise" if data.noise.rate else ""
        pairs = f", {data.n_pairs:,} pairs{noise}, seed {data.seed}" if data.n_pairs else ""
        figure.suptitle(f"{method_label(record.method.name)}: {record.model.locator.rpartition('/')[2]}{pairs}")
    return figure


def _edit_panels(layers: Layers) -> list[Panel]:
    """What the layers have numbers for; controls may have no spectrum."""
    panels: list[Panel] = []
    if any(layer.singular_values for layer in layers):
        panels += [partial(_spectra, layers), partial(_energies, layers)]
    noisy = any(layer.angles_to_clean_degrees for layer in layers)
    return [*panels, partial(_changes, layers), partial(_angles if noisy else _ranks, layers)]


def _spectra(layers: Layers, axes: Axes) -> None:
    shown = [layer for layer in layers if layer.singular_values]
    numbers = [layer.layer for layer in shown]
    colours = shades(len(shown))
    for layer, colour in zip(shown, colours, strict=True):
        values = layer.singular_values
        axes.plot(range(1, len(values) + 1), values, color=colour, linewidth=1)
        removed = values[: layer.rank]
        axes.plot(range(1, len(removed) + 1), removed, color=colour, marker="o", markersize=3, linestyle="")
    axes.plot([], [], color="0.3", marker="o", markersize=3, linestyle="", label="removed")
    axes.legend(handletextpad=0.2)
    axes.set(title="spectrum of the differences", xlabel="direction", ylabel="singular value")
    _from_zero(axes, max(max(layer.singular_values) for layer in shown))
    bounds = [index - 0.5 for index in range(len(shown) + 1)]
    colour_map = ScalarMappable(BoundaryNorm(bounds, len(shown)), ListedColormap(colours))
    bar = axes.figure.colorbar(colour_map, ax=axes, label="layer", pad=0.02)
    ticks = range(0, len(shown), math.ceil(len(shown) / 10))
    bar.set_ticks(list(ticks), labels=[str(numbers[index]) for index in ticks])
    bar.minorticks_off()


def _changes(layers: Layers, axes: Axes) -> None:
    """‖ΔW‖/‖W‖, of every matrix of a layer where several are edited."""
    kinds: dict[str, list[tuple[int, float]]] = {}
    for layer in layers:
        for matrix in layer.matrices:
            kind = matrix.name.removesuffix(".weight").rpartition(".")[2]
            kinds.setdefault(kind, []).append((layer.layer, 100 * matrix.relative_norm))
    colours = shades(len(kinds)) if len(kinds) > 1 else [COLOURS[0]]
    for (kind, points), colour, marker in zip(kinds.items(), colours, cycle("os^Dv<>P"), strict=False):
        axes.plot(*zip(*points, strict=True), **{**LINE, "color": colour, "marker": marker}, label=kind)
    axes.set(title="size of the change", xlabel="layer", ylabel="‖ΔW‖ / ‖W‖ (%)")
    _from_zero(axes, max(size for points in kinds.values() for _, size in points))
    if len(kinds) > 1:
        axes.legend()


def _angles(layers: Layers, axes: Axes) -> None:
    """Every principal angle as a dot, the largest of each layer joined by a line."""
    turned = {layer.layer: layer.angles_to_clean_degrees for layer in layers if layer.angles_to_clean_degrees}
    points = [(layer, angle) for layer, angles in turned.items() for angle in angles]
    largest = [max(angles) for angles in turned.values()]
    axes.plot(*zip(*points, strict=True), color="0.6", marker=".", markersize=4, linestyle="", label="all")
    axes.plot(list(turned), largest, **LINE, label="largest")
    axes.set(title="angles to the subspace without noise", xlabel="layer", ylabel="principal angle (degrees)")
    # Angles that are 0 but for rounding are to look like 0.
    _from_zero(axes, 1.15 * max(largest) if max(largest) > ROUNDING_DEGREES else 1.0)
    if len(points) > len(turned):
        axes.legend(loc="upper left", ncols=2)


def _energies(layers: Layers, axes: Axes) -> None:
    shares = {layer.layer: 100 * layer.energy_removed for layer in layers if layer.energy_removed is not None}
    axes.plot(list(shares), list(shares.values()), **LINE)
    axes.set(title="energy removed", xlabel="layer", ylabel="share of Σσ² (%)", ylim=(0, 105))


def _ranks(layers: Layers, axes: Axes) -> None:
    axes.plot([layer.layer for layer in layers], [layer.rank for layer in layers], **LINE)
    axes.set(title="rank", xlabel="layer", ylabel="directions removed")
    _from_zero(axes, max(layer.rank for layer in layers))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _from_zero(axes: Axes, highest: float) -> None:
    axes.set_ylim(0, 1.08 * highest)


SHARE = "share of pairs"


@dataclass(frozen=True)
class Course:
    """One panel of a training."""

    title: str
    unit: str
    labels: Mapping[str, str]
    """What the legend says, by the curve's name in the report."""
    after: Callable[[HeldOutReport], float | None] | None = None
    """The number that was measured on held-out pairs and belongs here."""
    chance: float | None = None
    """What a model that learnt nothing would give."""


REWARDS = {"chosen_reward": "chosen", "rejected_reward": "rejected"}
REWARD_ACCURACY, REWARD_MARGIN = attrgetter("reward_accuracy"), attrgetter("reward_margin")
COURSES = (
    Course("loss", "loss (nats)", {"loss": "training"}),
    Course("reward accuracy", SHARE, {"reward_accuracy": "training"}, REWARD_ACCURACY, 0.5),
    Course("reward margin", "chosen − rejected (nats × β)", {"reward_margin": "training"}, REWARD_MARGIN, 0.0),
    Course("rewards", "log-ratio to before (nats × β)", REWARDS, chance=0.0),
)
HELD_OUT_COURSES = (
    Course("margin on held-out pairs", "log p chosen − rejected (nats)", {"margin": "held-out"}),
    Course("accuracy on held-out pairs", SHARE, {"accuracy": "held-out"}),
)


def _curve_panels(curves: Curves, held_out: HeldOutReport | None) -> list[Panel]:
    """Those of `COURSES` that were reported, or four of another method's own; then those on held-out pairs."""
    standard = [course for course in COURSES if all(curves.get(name) for name in course.labels)]
    others = [Course(name.replace("_", " "), "", {name: "training"}) for name in curves if name != "step"]
    watched: Curves = (held_out.curve if held_out else None) or {"step": []}
    courses = standard or others[: len(COURSES)]
    panels: list[Panel] = [partial(_course, course, curves, held_out) for course in courses]
    if len(watched["step"]) > 1:
        panels += [partial(_course, course, watched, None) for course in HELD_OUT_COURSES]
    return panels


def _course(course: Course, curves: Curves, held_out: HeldOutReport | None, axes: Axes) -> None:
    steps = curves["step"]
    for (name, label), colour in zip(course.labels.items(), COLOURS, strict=False):
        _line(axes, steps, curves[name], colour, label)
    if course.chance is not None:
        axes.axhline(course.chance, color="0.5", linestyle="--", linewidth=1)
    after = course.after(held_out) if course.after and held_out else None
    if after is not None:
        axes.plot(steps[-1:], [after], **AFTER, label="held-out pairs, after")
    axes.set(title=course.title, xlabel="step", ylabel=course.unit)
    if course.unit == SHARE:
        axes.set_ylim(-0.03, 1.03)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend()


def _line(axes: Axes, steps: Sequence[float], points: Sequence[float], colour: str, label: str) -> None:
    """One curve; where it has many points, these are pale and their means over stretches stand out."""
    stretch = max(1, len(points) // STRETCHES)
    if stretch == 1:
        axes.plot(steps, points, color=colour, marker=".", markersize=4, linewidth=1.2, label=label)
        return
    starts = range(0, len(points), stretch)
    means, middles = ([fmean(values[start : start + stretch]) for start in starts] for values in (points, steps))
    axes.plot(steps, points, color=colour, alpha=0.3, linewidth=0.8)
    axes.plot(middles, means, color=colour, linewidth=1.6, label=f"{label}, means of {stretch}")
