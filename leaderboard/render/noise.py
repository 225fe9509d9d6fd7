"""What noise did, as tables: each noisy row against its clean twin, and each method over all its noise."""

from collections.abc import Callable, Sequence

from bench.leaderboard.board.values import Change, Column, OverNoise, Row, Table
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


def over_noise_sections(table: Table, *, between: str) -> list[Section]:
    """A table for each metric of which methods have rows of several noise rates or models.

    Arguments:
        between: as for `noise_sections`.
    """
    return [
        _over_noise_section(table, column, methods, between)
        for column in main_columns(table)
        if (methods := table.over_noise.get(column.metric))
    ]


def _over_noise_section(table: Table, column: Column, methods: Sequence[OverNoise], between: str) -> Section:
    retains, several = _retains(table, column.metric), any(method.worst_model for method in methods)
    columns: list[tuple[str, Callable[[OverNoise], str]]] = [
        ("method", lambda method: row_name_text(table, table.rows[method.rows[0]])),
        ("Δ without noise", lambda method: _without_noise(table, method, column, between)),
        ("clean cost", lambda method: _clean_cost(method, column, between)),
        ("worst cell", lambda method: _worst_cell(table, method, column, between)),
    ]
    if retains:
        columns.append(("retained there", lambda method: _retained_at_worst(table, method, column, between)))
    if several:
        columns.append(("worst noise model", lambda method: _worst_model(method, column, between)))
    rows = tuple(tuple(write(method) for _, write in columns) for method in methods)
    return Section(f"Over all noise: {column.metric}{unit_text(column)}", tuple(head for head, _ in columns), rows)


def _without_noise(table: Table, method: OverNoise, column: Column, between: str) -> str:
    clean = table.rows[method.rows[0]]
    return MISSING if clean.noise_rate else _against(clean.scores[column.metric].change, column, between)


def _clean_cost(method: OverNoise, column: Column, between: str) -> str:
    return "best" if method.best == method.rows[0] else _against(method.clean_cost, column, between)


def _worst_cell(table: Table, method: OverNoise, column: Column, between: str) -> str:
    worst = table.rows[method.worst]
    return f"{row_noise_text(table, worst)}: {_against(worst.scores[column.metric].change, column, between)}"


def _retained_at_worst(table: Table, method: OverNoise, column: Column, between: str) -> str:
    return retained_text(table.rows[method.worst], column.metric, between)


def _worst_model(method: OverNoise, column: Column, between: str) -> str:
    if method.worst_model is None:
        return MISSING
    return f"{method.worst_model}: {_against(method.worst_model_change, column, between)}"


def _against(change: Change | None, column: Column, between: str) -> str:
    return MISSING if change is None else marked_text(change, style_of(column), between)


def noise_columns(table: Table) -> list[Column]:
    """Columns of which `noise_sections` has tables."""
    columns = [column for column in main_columns(table) if any(_has_effect(row, column.metric) for row in table.rows)]
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
            reasons.setdefault(effect.reason, []).append(f"{row.label} {rate_text(row.noise_rate)}")
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
    return f"{row.label} ({settings}){size}" if settings else f"{row.label}{size}"


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
