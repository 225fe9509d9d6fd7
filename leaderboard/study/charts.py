"""What is drawn of a study, as plain rows: a picture is made of its rows alone, and its CSV is those rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.leaderboard.study.cells import StudyCells, pairs_text, rate_label
from bench.leaderboard.study.chart_rows import Row, change_rows, seed_rows, value_rows, why_rows
from bench.leaderboard.study.tradeoffs import tradeoff_rows

Kind = Literal["values", "changes", "tradeoff", "seeds", "why"]

SHARED_SCALE = ("values", "changes")
"""Kinds whose pictures have the same vertical axes, so that facets can be compared."""


@dataclass(frozen=True)
class Chart:
    """One picture and the numbers behind it."""

    stem: str
    """Name of its files."""
    kind: Kind
    title: str
    rows: tuple[Row, ...]
    """All with the same keys, in the order of the CSV's columns."""
    methods: tuple[str, ...]
    """Of the whole study, in order: a method looks the same in every picture."""
    over: Literal["rate", "pairs"] = "rate"
    """The column that the horizontal axis of a curve is."""
    spans: Mapping[str, tuple[float, float]] | None = None
    """Least and most of each metric in all pictures of this kind."""


def make_charts(study: StudyCells) -> list[Chart]:
    """Every picture that there is anything for, curves first."""
    noises: Sequence[str | None] = study.noises or [None]
    charts = [
        *(chart for noise, size in study.noise_facets() for chart in _over_rates(study, noise, size)),
        *(chart for noise, rate in study.size_facets() for chart in _over_sizes(study, noise, rate)),
        *(chart for noise in noises for chart in _over_cells(study, noise)),
        *(_why(study, noise, size) for noise in study.noises for size in study.sizes),
    ]
    return _scaled([chart for chart in charts if chart.rows])


def csv_text(chart: Chart) -> str:
    """The rows at full precision, with a line of heads."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(chart.rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if cell is None else cell for name, cell in row.items()} for row in chart.rows)
    return stream.getvalue()


def slug(text: str) -> str:
    """Text as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-")


def _over_rates(study: StudyCells, noise: str, size: int) -> list[Chart]:
    cells = [cell for method in study.methods for cell in study.over_rates(method, noise, size)]
    stem, title, methods = slug(f"noise-{noise}-n{size}"), f"{noise}, {pairs_text(size)}", tuple(study.methods)
    return [
        Chart(stem, "values", f"By noise rate: {title}", value_rows(study, cells), methods),
        Chart(f"{stem}-change", "changes", f"Change by noise rate: {title}", change_rows(study, cells), methods),
    ]


def _over_sizes(study: StudyCells, noise: str | None, rate: float) -> list[Chart]:
    cells = [cell for method in study.methods for cell in study.over_sizes(method, noise, rate)]
    title = f"{noise} {rate_label(rate)}" if noise else "no noise"
    stem, methods = slug(f"size-{noise}-{100 * rate:.4g}" if noise else "size"), tuple(study.methods)
    values, changes = value_rows(study, cells), change_rows(study, cells)
    return [
        Chart(stem, "values", f"By number of pairs: {title}", values, methods, "pairs"),
        Chart(f"{stem}-change", "changes", f"Change by number of pairs: {title}", changes, methods, "pairs"),
    ]


def _over_cells(study: StudyCells, noise: str | None) -> list[Chart]:
    """Trade-offs and seeds of one noise model, with the cells without noise."""
    suffix, title = (f"-{noise}", f": {noise}") if noise else ("", "")
    methods = tuple(study.methods)
    tradeoffs, seeds = tradeoff_rows(study, noise), seed_rows(study, noise)
    return [
        Chart(slug(f"tradeoff{suffix}"), "tradeoff", f"What less toxicity costs{title}", tradeoffs, methods),
        Chart(slug(f"seeds{suffix}"), "seeds", f"Every seed's value{title}", seeds, methods),
    ]


def _why(study: StudyCells, noise: str, size: int) -> Chart:
    title = f"Why: {noise}, {pairs_text(size)}"
    return Chart(slug(f"why-{noise}-n{size}"), "why", title, why_rows(study, noise, size), tuple(study.methods))


def _scaled(charts: Sequence[Chart]) -> list[Chart]:
    """With the spans of all charts of a kind that share their scale."""
    heights: dict[Kind, dict[str, list[float]]] = {}
    for chart in charts:
        for row in chart.rows if chart.kind in SHARED_SCALE else ():
            numbers = [row[name] for name in ("value", "low", "high")]
            values = heights.setdefault(chart.kind, {}).setdefault(str(row["metric"]), [])
            values += [number for number in numbers if isinstance(number, int | float)]
    spans = {
        kind: {metric: (min(values), max(values)) for metric, values in metrics.items()}
        for kind, metrics in heights.items()
    }
    return [replace(chart, spans=spans.get(chart.kind, {})) for chart in charts]
