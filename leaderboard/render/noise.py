"""What noise did, as tables: each noisy row against its clean twin, and methods against each other."""

from collections.abc import Callable

from bench.leaderboard.board.values import Change, Column, NoiseContrast, Row, Table
from bench.leaderboard.records.labels import joined
from bench.leaderboard.render.columns import main_columns
from bench.leaderboard.render.numbers import (
    MISSING,
    NumberStyle,
    change_interval_text,
    change_text,
    count_text,
    number,
    rate_text,
    signed,
    style_of,
    verdict,
)
from bench.leaderboard.render.section import Section


def noise_sections(table: Table, *, between: str) -> list[Section]:
    """For the first metric in which rows have clean twins, and each other one of which some row retains a stated share:
    a table of rows, and one of pairs of methods.

    Arguments:
        between: stands between a number and its interval, and names and noise; Markdown allows no line break there.
    """
    sections = []
    for column in noise_columns(table):
        metric, style = column.metric, style_of(column)
        unit = f", {style.change_head or style.change_unit.strip()}" if style.change_head or style.change_unit else ""
        rows = tuple(_effect_row(table, row, column, between) for row in table.rows if _has_effect(row, metric))
        heads = ("method", "Δ without noise", "Δ with noise", "by the noise", "gain retained")
        sections.append(Section(f"What noise did: {metric}{unit}", heads, rows))
        if contrasts := table.contrasts.get(metric):
            pairs = tuple(_contrast_row(table, contrast, style, between) for contrast in contrasts)
            of_pairs = ("methods", "by the noise", "with noise", "gain retained")
            sections.append(Section(f"One method less another: {metric}{unit}", of_pairs, pairs))
    return sections


def noise_columns(table: Table) -> list[Column]:
    """Columns of which `noise_sections` has tables."""
    columns = [column for column in main_columns(table) if any(_has_effect(row, column.metric) for row in table.rows)]
    return [column for column in columns if column is columns[0] or _retains(table, column.metric)]


def retained_text(row: Row, metric: str, between: str = " ") -> str:
    """`0.26 [−0.03, 0.52]`, a share of the gain without noise, or a dash."""
    score = row.scores.get(metric)
    effect = score.noise if score else None
    return MISSING if effect is None else _share(effect.retained, effect.retained_ci95, number, between)


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
    changes = (_change(change, style, between) for change in (effect.clean, effect.noisy, effect.change))
    return f"{_name(table, row)}{between}{_noise(table, row)}", *changes, retained_text(row, column.metric, between)


def _contrast_row(table: Table, contrast: NoiseContrast, style: NumberStyle, between: str) -> tuple[str, ...]:
    first, second = table.rows[contrast.first], table.rows[contrast.second]
    return (
        f"{_name(table, first)} − {_name(table, second)}{between}{_noise(table, first)}",
        _change(contrast.difference, style, between),
        _change(contrast.at_noise, style, between),
        _share(contrast.retained, contrast.retained_ci95, signed, between),
    )


def _name(table: Table, row: Row) -> str:
    sizes = {other.n_pairs for other in table.rows if not other.is_base}
    size = f" {count_text(row.n_pairs)} pairs" if len(sizes) > 1 else ""
    return f"{row.method} ({joined(row.settings)}){size}" if row.settings else f"{row.method}{size}"


def _noise(table: Table, row: Row) -> str:
    models = {other.noise_model for other in table.rows if other.noise_rate}
    return f"{row.noise_model} {rate_text(row.noise_rate)}" if len(models) > 1 else rate_text(row.noise_rate)


def _change(change: Change, style: NumberStyle, between: str) -> str:
    text = change_text(change, style).removesuffix(style.change_unit)
    return f"{text} {verdict(change)}".rstrip() + between + change_interval_text(change, style)


def _share(
    value: float | None, bounds: tuple[float, float] | None, write: Callable[[float, int], str], between: str
) -> str:
    if value is None:
        return MISSING
    interval = "(no interval)" if bounds is None else f"[{', '.join(write(bound, 2) for bound in bounds)}]"
    return f"{write(value, 2)}{between}{interval}"
