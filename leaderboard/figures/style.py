"""How pictures look and are saved. Colour, marker and line tell methods apart at once: print in grey will do."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import yaml
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.core.values import BASE
from bench.leaderboard.render.numbers import MINUS
from bench.leaderboard.study.chart_rows import Row
from bench.methods.labels import method_label

DPI = 200
WIDTH = 7.0
"""Inches: a printed page's text."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, but for the yellow, which is lost on white."""
MARKERS = "os^DvPX"
DASHES: Sequence[Any] = ("-", (0, (6, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (1, 1.2)), (0, (3, 1.5)))
"""As many as keep a combination from coming back for 35 methods."""
BASE_LINE: Mapping[str, Any] = {"color": "0.35", "linestyle": (0, (4, 3)), "linewidth": 1.2, "zorder": 1.5}
BAND_ALPHA = 0.12
DARKEST_TO_LIGHTEST = (0.0, 0.88)
"""Of the colour map: its end is too pale for lines on white."""
LETTERS_AN_INCH = 15.5
"""Of a legend's text."""
HANDLE_LETTERS = 8
"""What the sign before a legend's entry and the space after it take."""


@dataclass(frozen=True)
class Look:
    """Of one method, in every picture of a study."""

    colour: str
    marker: str
    dashes: Any

    @property
    def line(self) -> dict[str, Any]:
        return {
            "color": self.colour,
            "marker": self.marker,
            "markersize": 5,
            "linestyle": self.dashes,
            "linewidth": 1.4,
            "zorder": 3,
        }


def look(methods: Sequence[str], method: str) -> Look:
    """How a method looks, by its place among all."""
    index = methods.index(method)
    return Look(COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], DASHES[index % len(DASHES)])


@contextmanager
def drawing_style() -> Iterator[None]:
    """Our settings over matplotlib's own defaults, whatever a person's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")))
        yield


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the path's name ends in; the same figure gives the same bytes."""
    dateless: dict[str, dict[str, None]] = {
        ".png": {"Software": None},
        ".svg": {"Date": None, "Creator": None},
        ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    with drawing_style():
        figure.savefig(path, dpi=DPI, metadata=dateless[path.suffix])


def grid(
    n_panels: int,
    *,
    columns: int,
    height: float,
    sharey: bool = False,
    one_wide: float = 0.65 * WIDTH,
    besides: float = 0.8,
) -> tuple[Figure, list[Axes]]:
    """A page-wide figure with that many panels; places that are left over stay blank.

    Arguments:
        columns: at most that many.
        height: of a panel, inches; so are the next two.
        one_wide: width where there is one column.
        besides: height that titles and legend take.
    """
    columns = min(columns, n_panels)
    rows = math.ceil(n_panels / columns)
    figure = Figure(figsize=(WIDTH if columns > 1 else one_wide, rows * height + besides))
    panels = list(figure.subplots(rows, columns, squeeze=False, sharey="row" if sharey else False).flat)
    for axes in panels[n_panels:]:
        axes.set_axis_off()
    return figure, panels[:n_panels]


def panel_columns(n_panels: int) -> int:
    """Three where that leaves fewer blanks than two."""
    return 3 if n_panels in (3, 5, 6) or n_panels > 8 else 2


def percent_text(value: float, _: object = None) -> str:
    """A share as a tick's label, in per cent."""
    return f"{100 * value:.3g}".replace("-", MINUS)


def legend(figure: Figure, handles: Sequence[Any]) -> None:
    """Below all panels, in as many columns as there is room for."""
    lengths = [len(str(handle.get_label())) for handle in handles]
    room = figure.get_figwidth() * LETTERS_AN_INCH
    in_one_line = sum(lengths) + HANDLE_LETTERS * len(handles) <= room
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles) if in_one_line else max(1, int(room / (max(lengths) + HANDLE_LETTERS))),
        frameon=False,
        handlelength=2.6,
    )


def method_handles(methods: Sequence[str], rows: Sequence[Row], **changes: Any) -> list[Any]:
    """Legend entries of the methods that rows are of."""
    by_method = rows_by(rows, "method")
    lines = {method: {**look(methods, method).line, **changes} for method in methods if method in by_method}
    return [Line2D([], [], **line, label=method_label(method)) for method, line in lines.items()]


def base_handle(line: Mapping[str, Any] = BASE_LINE) -> Line2D:
    """Legend entry of the unaligned model."""
    return Line2D([], [], **line, label=f"{BASE} (unaligned)")


def point_handle(label: str, **changes: Any) -> Line2D:
    """Legend entry of a grey point."""
    return Line2D([], [], **{"color": "0.3", "marker": "o", "markersize": 5, "linestyle": "", **changes}, label=label)


def degenerate_handles(rows: Sequence[Row]) -> list[Line2D]:
    """Legend entry of points whose text is hardly text, where there are any."""
    return [point_handle("degenerate text", markerfacecolor="w")] if any(row["degenerate"] for row in rows) else []


def shades(count: int) -> list[Any]:
    """Colours from dark to light, told apart without colour vision."""
    low, high = DARKEST_TO_LIGHTEST
    return list(matplotlib.colormaps["viridis"]([low + (high - low) * i / max(1, count - 1) for i in range(count)]))


def paler(colour: str, share: float) -> tuple[float, float, float]:
    """A colour with that share of white in it."""
    red, green, blue = (channel + share * (1 - channel) for channel in to_rgb(colour))
    return red, green, blue


def rows_by(rows: Sequence[Row], name: str) -> dict[str, list[Row]]:
    """Rows by what they hold in a column, in order of appearance."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(str(row[name]), []).append(row)
    return grouped


def metric_title(row: Row) -> str:
    """The metric's name with an arrow towards the better, folded where a scorer's settings make it long."""
    title = f"{row['metric']} {'↑' if row['better'] == 'higher' else '↓'}"
    return title.replace(" [", "\n[") if len(title) > 30 else title


def axis_number(row: Row, name: str) -> float:
    """A row's number, NaN where it is blank."""
    cell = row[name]
    return float(cell) if isinstance(cell, int | float) else math.nan


def numbers(rows: Sequence[Row], name: str) -> list[float]:
    """A column, NaN where it is blank."""
    return [axis_number(row, name) for row in rows]


def levels(rows: Sequence[Row], name: str) -> list[float]:
    """The numbers there are in a column, ascending, each once."""
    return sorted({value for value in numbers(rows, name) if not math.isnan(value)})
