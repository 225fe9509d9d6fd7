"""What noise did, as a table: each noisy row against its clean twin."""

from collections.abc import Callable

from bench.leaderboard.board.values import Change, Column, Row, Table
from bench.leaderboard.records.labels import joined
from bench.leaderboard.render.numbers import (
    MISSING,
    NumberStyle,
    change_interval_text,
    change_text,
    count_text,
    number,
    rate_text,
    style_of,
    verdict,
)
from bench.leaderboard.render.section import Section


def noise_sections(table: Table, *, between: str) -> list[Section]:
    """A table for the first metric in which rows have clean twins, and each other one of which some row retains a
    stated share.

    Arguments:
        between: stands between a number and its interval, and names and noise; Markdown allows no line break there.
    """
    sections = []
    for column in noise_columns(table):
        metric = column.metric
        rows = tuple(_effect_row(table, row, column, between) for row in table.rows if _has_effect(row, metric))
        heads = ("method", "Δ without noise", "Δ with noise", "by the noise", "gain retained")
        sections.append(Section(f"What noise did: {metric}{unit_text(column)}", heads, rows))
    return sections


def noise_columns(table: Table) -> list[Column]:
    """Columns of which `noise_sections` has tables."""
    columns = [column for column in table.columns if any(_has_effect(row, column.metric) for row in table.rows)]
    return [column for column in columns if column is columns[0] or _retains(table, column.metric)]


def retained_text(row: Row, metric: str, between: str = " ") -> str:
    """`0.26 [−0.03, 0.52]`, a share of the gain without noise, or a dash."""
    score = row.scores.get(metric)
    effect = score.noise if score else None
    return MISSING if effect is None else share_text(effect.retained, effect.retained_ci95, number, between)


def noise_reasons(table: Table, metric: str) -> dict[str, list[str]]:
    """Why shares are not given: reason to the rows that have none for it."""
    reasons: dict[str, list[str]] = {}
    for row in table.rows:
        effect = row.scores[metric].noise if metric in row.scores else None
        if effect is not None and effect.reason is not None:
            reasons.setdefault(effect.reason, []).append(f"{row.method} {rate_text(row.noise_rate)}")
    return reasons


def _has_effect(row: Row, metric: str) -> bool:
    return metric in row.scores and row.scores[metric].noise is not None


def _retains(table: Table, metric: str) -> bool:
    effects = (row.scores[metric].noise for row in table.rows if metric in row.scores)
    return any(effect is not None and effect.retained is not None for effect in effects)


def _effect_row(table: Table, row: Row, column: Column, between: str) -> tuple[str, ...]:
    effect, style = row.scores[column.metric].noise, style_of(column)
    assert effect is not None
    changes = (marked_text(change, style, between) for change in (effect.clean, effect.noisy, effect.change))
    return (
        f"{row_name_text(table, row)}{between}{row_noise_text(table, row)}",
        *changes,
        retained_text(row, column.metric, between),
    )


def row_name_text(table: Table, row: Row) -> str:
    """A row without its noise: `dpo (beta=0.1) 50 pairs`."""
    sizes = {other.n_pairs for other in table.rows if not other.is_base}
    size = f" {count_text(row.n_pairs)} pairs" if len(sizes) > 1 else ""
    settings = joined({name: value for name, value in row.settings.items() if name != "noise"})
    return f"{row.method} ({settings}){size}" if settings else f"{row.method}{size}"


def row_noise_text(table: Table, row: Row) -> str:
    """`30 %`, or `flip 30 %` where the table has several noise models."""
    models = {other.noise_model for other in table.rows if other.noise_rate}
    return f"{row.noise_model} {rate_text(row.noise_rate)}" if len(models) > 1 else rate_text(row.noise_rate)


def marked_text(change: Change, style: NumberStyle, between: str) -> str:
    """`−0.057 ✓ [−0.090, −0.035]`, without the unit, which stands above."""
    text = change_text(change, style).removesuffix(style.change_unit)
    return f"{text} {verdict(change)}".rstrip() + between + change_interval_text(change, style)


def share_text(
    value: float | None, bounds: tuple[float, float] | None, write: Callable[[float, int], str], between: str
) -> str:
    """A share of a gain with its interval, or a dash."""
    if value is None:
        return MISSING
    interval = "(no interval)" if bounds is None else f"[{', '.join(write(bound, 2) for bound in bounds)}]"
    return f"{write(value, 2)}{between}{interval}"


def unit_text(column: Column) -> str:
    """`, points`: what a title says of the changes below it; nothing where they have no unit."""
    style = style_of(column)
    unit = style.change_head or style.change_unit.strip()
    return f", {unit}" if unit else ""
