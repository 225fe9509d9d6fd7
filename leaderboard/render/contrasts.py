"""Methods against each other, as tables: every two rows of the same pairs and noise, and what noise did to each."""

from collections.abc import Iterator

from bench.leaderboard.board.contrasts import MOST_ROWS
from bench.leaderboard.board.values import Column, MethodContrast, Row, Table
from bench.leaderboard.render.columns import main_columns
from bench.leaderboard.render.noise import (
    marked_text,
    noise_sections,
    over_noise_sections,
    row_name_text,
    row_noise_text,
    share_text,
    unit_text,
)
from bench.leaderboard.render.numbers import MISSING, NumberStyle, change_text, signed, style_of
from bench.leaderboard.render.section import Section


def comparison_sections(table: Table, *, between: str) -> list[Section]:
    """For each metric every two methods under the same noise; then what noise did to each.

    Arguments:
        between: stands between a number and its interval, and names and noise; Markdown allows no line break there.
    """
    of_pairs = [
        _section(table, column, contrasts, between)
        for column in main_columns(table)
        if (contrasts := table.contrasts.get(column.metric))
    ]
    return [*of_pairs, *noise_sections(table, between=between), *over_noise_sections(table, between=between)]


def crowded(table: Table) -> Iterator[str]:
    """Noise under which so many rows stand that they are not compared two by two, with how many there are."""
    groups: dict[tuple[int | None, str], set[int]] = {}
    for index, row in enumerate(table.rows):
        if not row.is_base:
            groups.setdefault((row.n_pairs, row_noise_text(table, row)), set()).add(index)
    compared = {index for of in table.contrasts.values() for pair in of for index in (pair.first, pair.second)}
    for (_, noise), rows in groups.items():
        if len(rows) > MOST_ROWS and compared.isdisjoint(rows):
            yield f"{len(rows)} rows at {noise}"


def _section(table: Table, column: Column, contrasts: tuple[MethodContrast, ...], between: str) -> Section:
    noisy = any(contrast.by_noise is not None for contrast in contrasts)
    heads = ("methods", "Δ of each", "first − second", *(("by the noise", "gain retained") if noisy else ()))
    rows = tuple(_row(table, contrast, column, noisy, between) for contrast in contrasts)
    return Section(f"One method less another: {column.metric}{unit_text(column)}", heads, rows)


def _row(table: Table, contrast: MethodContrast, column: Column, noisy: bool, between: str) -> tuple[str, ...]:
    first, second = table.rows[contrast.first], table.rows[contrast.second]
    style = style_of(column)
    names = f"{row_name_text(table, first)} − {row_name_text(table, second)}{between}{row_noise_text(table, first)}"
    gains = ", ".join(_gain(row, column, style) for row in (first, second))
    cells = (names, gains, marked_text(contrast.gap, style, between))
    if not noisy:
        return cells
    by_noise = MISSING if contrast.by_noise is None else marked_text(contrast.by_noise, style, between)
    return *cells, by_noise, share_text(contrast.retained, contrast.retained_ci95, signed, between)


def _gain(row: Row, column: Column, style: NumberStyle) -> str:
    change = row.scores[column.metric].change
    return MISSING if change is None else change_text(change, style).removesuffix(style.change_unit)
