"""Curve summaries as tables of text."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from bench.leaderboard.board.values import Change, Column
from bench.leaderboard.render.numbers import MISSING, change_interval_text, change_text, number, signed, style_of
from bench.leaderboard.render.section import Section
from bench.leaderboard.statistics import curves as degradation
from bench.leaderboard.study.cells import noise_text, pairs_text, rate_label
from bench.leaderboard.study.summaries import CurveSummary, NoiseSummary, SizeSummary
from bench.methods.labels import method_label

UNBOUNDED = "(without bounds)"


def noise_tables(summaries: Sequence[NoiseSummary], columns: Mapping[str, Column], *, between: str) -> list[Section]:
    """A table for each noise model and number of pairs.

    Arguments:
        columns: of the metrics.
        between: stands between a number and its interval; Markdown allows no line break there.
    """
    heads = ("method", "metric", "Δ without noise", "area", "slope", "ε₅₀", "breakdown", "largest loss")
    return [
        Section(title, heads, tuple(_noise_row(summary, columns[summary.metric], between) for summary in group))
        for title, group in groupby(summaries, lambda s: f"Over noise rates: {s.noise}, {pairs_text(s.n_pairs)}")
    ]


def size_tables(summaries: Sequence[SizeSummary], columns: Mapping[str, Column], *, between: str) -> list[Section]:
    """A table for each noise model and rate."""
    heads = ("method", "metric", "Δ with most pairs", "n₉₀")
    tables = []
    for (noise, rate), group in groupby(summaries, lambda summary: (summary.noise, summary.rate)):
        rows = tuple(_size_row(summary, columns[summary.metric], between) for summary in group)
        tables.append(Section(f"Over numbers of pairs: {noise_text(noise, rate)}", heads, rows))
    return tables


def _noise_row(summary: NoiseSummary, column: Column, between: str) -> tuple[str, ...]:
    curve = summary.curve
    return (
        method_label(summary.method),
        summary.metric,
        _start(summary, column, between),
        _summary(curve.area if curve else None, lambda value: number(value, 2), between),
        _summary(curve.slope if curve else None, lambda value: signed(value, 1), between),
        _crossing(curve.half if curve else None, lambda rate: f"{number(100 * rate, 0)} %", between),
        _breakdown(curve.breakdown if curve else None),
        _largest_loss(curve.breakdown if curve else None),
    )


def _size_row(summary: SizeSummary, column: Column, between: str) -> tuple[str, ...]:
    needed = summary.curve.needed if summary.curve else None
    text = _crossing(needed, lambda size: f"{size:,.0f}", between)
    if needed is not None and summary.curve is not None and needed.value == summary.curve.sizes[0]:
        text = f"≤ {text}"
    return method_label(summary.method), summary.metric, _start(summary, column, between), text


def _start(summary: CurveSummary, column: Column, between: str) -> str:
    """The change that the other numbers are relative to."""
    point = summary.start
    if point is None or point.change is None:
        return MISSING
    change, style = Change(value=point.change, ci95=point.change_ci95, n=point.n, better=None), style_of(column)
    head = f" {style.change_head}" if style.change_head else ""
    return f"{change_text(change, style)}{head}{between}{change_interval_text(change, style)}"


def _summary(found: degradation.Summary | None, text: Callable[[float], str], between: str) -> str:
    if found is None:
        return MISSING
    interval = UNBOUNDED if found.ci95 is None else f"[{', '.join(map(text, found.ci95))}]"
    return f"{text(found.value)}{between}{interval}"


def _crossing(found: degradation.Crossing | None, text: Callable[[float], str], between: str) -> str:
    """Ends that lie beyond what was measured say so: `> 50 %`."""
    if found is None:
        return MISSING
    ends = (found.value, found.low, found.high)
    value, low, high = (f"> {text(found.beyond)}" if end is None else text(end) for end in ends)
    return f"{value}{between}[{low}, {high}]"


def _breakdown(found: degradation.Breakdown | None) -> str:
    if found is None:
        return MISSING
    return f"none up to {rate_label(found.beyond)}" if found.rate is None else rate_label(found.rate)


def _largest_loss(found: degradation.Breakdown | None) -> str:
    """At the largest rate: `at 50 %: ≤ 83 %`."""
    if found is None:
        return MISSING
    loss = found.largest_losses[-1]
    return f"at {rate_label(found.beyond)}: {'any' if loss is None else f'≤ {number(100 * loss, 0)} %'}"
