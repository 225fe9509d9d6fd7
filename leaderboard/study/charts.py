"""What is drawn of a study, as plain rows: a picture is made of its rows alone, and its CSV is those rows."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.leaderboard.study.cells import CurvePoint, StudyCells, noise_text, pairs_text
from bench.leaderboard.study.chart_rows import Row, curve_rows, seed_rows
from bench.leaderboard.study.mechanisms import why_rows
from bench.leaderboard.study.tradeoffs import tradeoff_rows

Kind = Literal["values", "changes", "tradeoff", "seeds", "why", "versus"]
Over = Literal["rate", "pairs"]

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
    over: Over = "rate"
    """The column that the horizontal axis of a curve is."""
    spans: Mapping[str, tuple[float, float]] | None = None
    """Least and most of each metric in all pictures of this kind."""


def make_charts(study: StudyCells) -> list[Chart]:
    """Every picture that there is anything for, curves first."""
    methods = tuple(study.methods)
    noises: Sequence[str | None] = study.noises or [None]
    charts: list[Chart] = []
    for noise, size in study.noise_facets():
        cells = [cell for method in methods for cell in study.over_rates(method, noise, size)]
        charts += _curves(study, cells, "rate", f"noise-{noise}-n{size}", f"noise rate: {noise}, {pairs_text(size)}")
    for model, rate in study.size_facets():
        cells = [cell for method in methods for cell in study.over_sizes(method, model, rate)]
        stem = f"size-{model}-{100 * rate:.4g}" if model else "size"
        charts += _curves(study, cells, "pairs", stem, f"number of pairs: {noise_text(model, rate)}")
    for model in noises:
        suffix, title = (f"-{model}", f": {model}") if model else ("", "")
        tradeoffs, seeds = tradeoff_rows(study, model), seed_rows(study, model)
        charts += [
            Chart(slug(f"tradeoff{suffix}"), "tradeoff", f"What less toxicity costs{title}", tradeoffs, methods),
            Chart(slug(f"seeds{suffix}"), "seeds", f"Every seed's value{title}", seeds, methods),
        ]
    for noise in study.noises:
        for size in study.sizes:
            title, rows = f"Why: {noise}, {pairs_text(size)}", why_rows(study, noise, size)
            charts.append(Chart(slug(f"why-{noise}-n{size}"), "why", title, rows, methods))
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


def _curves(study: StudyCells, cells: Sequence[CurvePoint], over: Over, stem: str, title: str) -> list[Chart]:
    """Values, and changes against base."""
    values, changes = (curve_rows(study, cells, changes=changes) for changes in (False, True))
    return [
        Chart(slug(stem), "values", f"By {title}", values, tuple(study.methods), over),
        Chart(f"{slug(stem)}-change", "changes", f"Change by {title}", changes, tuple(study.methods), over),
    ]


def _scaled(charts: Sequence[Chart]) -> list[Chart]:
    """With the spans of all charts of a kind that share their scale."""
    heights: dict[tuple[Kind, str], list[float]] = {}
    for chart in charts:
        for row in chart.rows if chart.kind in SHARED_SCALE else ():
            numbers = [row[name] for name in ("value", "low", "high")]
            of_metric = heights.setdefault((chart.kind, str(row["metric"])), [])
            of_metric += [number for number in numbers if isinstance(number, int | float)]
    return [
        replace(chart, spans={m: (min(all_), max(all_)) for (kind, m), all_ in heights.items() if kind == chart.kind})
        for chart in charts
    ]
