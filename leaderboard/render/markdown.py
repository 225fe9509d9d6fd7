"""The leaderboard as a page of GitHub-flavoured Markdown. The same records give the same bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from bench.leaderboard.board.values import Column, Leaderboard, Row, Score, Table
from bench.leaderboard.records.labels import joined
from bench.leaderboard.render.budget_table import BudgetColumn, budget_columns
from bench.leaderboard.render.notes import FAILED, shows_ranks, shows_spread, table_notes, unpaired_reasons
from bench.leaderboard.render.numbers import (
    MISSING,
    change_interval_text,
    change_text,
    count_text,
    direction,
    gibibytes_text,
    interval_text,
    rank_text,
    rate_text,
    seconds_text,
    spread_head,
    spread_text,
    style_of,
    value_text,
    verdict,
)
from bench.leaderboard.render.side_tables import SideColumn, side_tables

Cell = Callable[[Row], str]
_TASK_CHANGES = "In parentheses the change against base, marked like those above."
_NO_BREAK = "\u00a0"
_ACTIVE = re.compile(r"[\\`*|<>~#]|\b_|_\b")
"""Signs that Markdown reads; an underscore inside a word is none."""


def board_page(board: Leaderboard) -> str:
    """For each set of comparable rows its table, its per-task table, and the notes to read them by."""
    sections = ["# Leaderboard"]
    if not board.tables:
        sections.append("No finished cell yet.")
    for table in board.tables:
        sections += _sections(table)
    if board.failed:
        lines = [f"- **{escaped(cell.cell)}:** {escaped(cell.error)}" for cell in board.failed]
        sections += ["## Failed cells", FAILED, "\n".join(lines)]
    return "\n\n".join(sections) + "\n"


def _sections(table: Table) -> list[str]:
    sections = [_heading(table), _main(table)]
    for column in table.columns:
        if any(row.scores[column.metric].tasks for row in table.rows if column.metric in row.scores):
            sections.append(f"### {escaped(column.metric)} by task")
            if table.compares:
                sections.append(_TASK_CHANGES)
            sections.append(_by_task(table, column))
    for side in side_tables(table):
        columns = [(column.title, _side_cell(column)) for column in side.columns]
        grid = _grid([*_row_columns(table), *columns], table.rows)
        sections += [f"### {escaped(side.title[0].upper() + side.title[1:])}", side.about, grid]
    if table.has_aligned:
        sections += ["### Budget", _budget(table)]
    if shows_spread(table):
        sections += ["### Between seeds", "Standard deviation between seeds (lowest to highest).", _spread(table)]
    notes = [f"- **{escaped(note.label)}:** {escaped(note.text)}" for note in table_notes(table)]
    sections += ["### Notes", "\n".join(notes)]
    if table.origin.commands:
        sections += ["Made by:", "\n".join(["```sh", *table.origin.commands, "```"])]
    return sections


def escaped(text: str) -> str:
    """Text that means itself in Markdown, in a table too."""
    return _ACTIVE.sub(lambda sign: f"\\{sign.group()}", " ".join(text.split()))


def _heading(table: Table) -> str:
    return f"## {escaped(' · '.join(part for part in (table.locator, joined(table.distinction)) if part))}"


def _main(table: Table) -> str:
    columns = _row_columns(table)
    if table.has_aligned:
        columns.append(("trials", lambda row: count_text(row.budget.trials)))
    for column in table.columns:
        columns += _metric_columns(column, table)
    columns += [
        ("align time", lambda row: _whole(seconds_text(row.align_seconds))),
        ("peak memory", lambda row: _whole(gibibytes_text(row.peak_rss_bytes))),
    ]
    if any(row.peak_device_bytes is not None for row in table.rows):
        columns.append(("device memory", lambda row: _whole(gibibytes_text(row.peak_device_bytes))))
    if any(row.flags for row in table.rows):
        columns.append(("flags", lambda row: escaped("; ".join(row.flags))))
    return _grid(columns, table.rows)


def _row_columns(table: Table) -> list[tuple[str, Cell]]:
    columns: list[tuple[str, Cell]] = [
        ("method", _method),
        ("pairs", lambda row: count_text(row.n_pairs)),
        ("noise", lambda row: _whole(rate_text(row.noise_rate))),
    ]
    if shows_spread(table):
        columns.append(("seeds", lambda row: str(len(row.seeds)) if row.seeds else MISSING))
    return columns


def _method(row: Row) -> str:
    return escaped(f"{row.method} ({joined(row.settings)})" if row.settings else row.method)


def _metric_columns(column: Column, table: Table) -> list[tuple[str, Cell]]:
    style = style_of(column)
    reasons = unpaired_reasons(table)

    def value(row: Row) -> str:
        score = row.scores.get(column.metric)
        return _whole(f"{value_text(score, style)} {interval_text(score, style)}".strip())

    def change(row: Row) -> str:
        return "" if row.is_base else _change(row.scores.get(column.metric), column, reasons)

    columns: list[tuple[str, Cell]] = [(direction(column), value)]
    if shows_ranks(table, column):
        columns.append(("rank", lambda row: rank_text(row.scores.get(column.metric))))
    title = f"Δ {column.metric}" + (f", {style.change_head}" if style.change_head else "")
    return [*columns, (title, change)] if table.compares else columns


def _change(score: Score | None, column: Column, reasons: dict[str, str]) -> str:
    if score is None or score.change is None:
        return MISSING + (reasons[score.unpaired] if score and score.unpaired else "")
    style, change = style_of(column), score.change
    text = _whole(change_text(change, style))
    marked = f"**{text}**{_NO_BREAK}{verdict(change)}" if verdict(change) else text
    return f"{marked} {_whole(change_interval_text(change, style))}"


def _by_task(table: Table, column: Column) -> str:
    style = style_of(column)
    names = sorted(
        {name for row in table.rows if column.metric in row.scores for name in row.scores[column.metric].tasks}
    )

    def cell(name: str) -> Cell:
        def text(row: Row) -> str:
            score = row.scores[column.metric].tasks.get(name) if column.metric in row.scores else None
            value = _whole(value_text(score, style))
            if score is None or score.change is None:
                return value
            change = _whole(change_text(score.change, style))
            return f"{value} (**{change}** {sign})" if (sign := verdict(score.change)) else f"{value} ({change})"

        return text

    return _grid([*_row_columns(table), *((name, cell(name)) for name in names)], table.rows)


def _spread(table: Table) -> str:
    def cell(column: Column) -> Cell:
        return lambda row: _whole(spread_text(row.scores.get(column.metric), style_of(column)))

    columns = [*_row_columns(table), *((spread_head(column), cell(column)) for column in table.columns)]
    return _grid(columns, [row for row in table.rows if len(row.seeds) > 1])


def _budget(table: Table) -> str:
    def cell(column: BudgetColumn) -> Cell:
        return lambda row: _whole(column.text(row))

    columns = [*_row_columns(table), *((column.title, cell(column)) for column in budget_columns(table))]
    return _grid([*columns, ("device", lambda row: escaped(row.device))], table.rows)


def _side_cell(column: SideColumn) -> Cell:
    return lambda row: _whole(column.text(row))


def _whole(text: str) -> str:
    """Text that a browser does not break over lines."""
    return text.replace(" ", _NO_BREAK)


def _grid(columns: Sequence[tuple[str, Cell]], rows: Sequence[Row]) -> str:
    """A padded Markdown table; the first column to the left, numbers to the right, words to the left."""
    header = [escaped(title) for title, _ in columns]
    body = [[cell(row) for _, cell in columns] for row in rows]
    widths = [max(len(line[i]) for line in [header, *body]) for i in range(len(columns))]
    left = [i == 0 or title in ("flags", "device") for i, (title, _) in enumerate(columns)]
    rule = [
        ("-" * max(width, 3)) if is_left else "-" * max(width - 1, 2) + ":"
        for width, is_left in zip(widths, left, strict=True)
    ]

    def line(cells: Sequence[str]) -> str:
        padded = [
            text.ljust(width) if is_left else text.rjust(width)
            for text, width, is_left in zip(cells, widths, left, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(header), line(rule), *(line(cells) for cells in body)])
