"""The leaderboard as a page of GitHub-flavoured Markdown. The same records give the same bytes."""

import re
from collections.abc import Iterable, Sequence

from bench.leaderboard.board.values import Column, Leaderboard, Row, Table
from bench.leaderboard.records.labels import joined
from bench.leaderboard.render.columns import (
    TRIALS,
    TextColumn,
    budget_columns,
    condition_columns,
    main_columns,
    shows_spread,
    spread_column,
    task_names,
)
from bench.leaderboard.render.contrasts import comparison_sections
from bench.leaderboard.render.notes import FAILED, shows_ranks, subtitle, table_notes, unpaired_reasons
from bench.leaderboard.render.numbers import (
    MISSING,
    change_interval_text,
    change_text,
    direction,
    gibibytes_text,
    interval_text,
    rank_text,
    seconds_text,
    style_of,
    value_text,
    verdict,
)
from bench.leaderboard.render.side_tables import side_tables
from bench.leaderboard.render.text import markdown_table

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
    heading = " · ".join(part for part in (table.locator, subtitle(table)) if part)
    sections = [f"## {escaped(heading)}", _main(table)]
    for column in table.columns:
        if names := task_names(table, column):
            changes = ["In parentheses the change against base, marked like those above."] if table.compares else []
            columns = [_task_column(column, name) for name in names]
            sections += [f"### {escaped(column.metric)} by task", *changes, _grid(table, columns)]
    for noise in comparison_sections(table, between=" "):
        lines = [list(map(escaped, cells)) for cells in (noise.columns, *noise.rows)]
        sections += [f"### {escaped(noise.title)}", markdown_table(lines[0], lines[1:])]
    for beside in side_tables(table):
        title = beside.title[0].upper() + beside.title[1:]
        sections += [f"### {escaped(title)}", beside.about, _grid(table, beside.columns)]
    if table.has_aligned:
        device = TextColumn("device", lambda row: row.device, left=True)
        sections += ["### Budget", _grid(table, [*budget_columns(table), device])]
    if shows_spread(table):
        several = [row for row in table.rows if len(row.seeds) > 1]
        sections += ["### Between seeds", "Standard deviation between seeds (lowest to highest)."]
        sections.append(_grid(table, map(spread_column, table.columns), several))
    notes = [f"- **{escaped(note.label)}:** {escaped(note.text)}" for note in table_notes(table)]
    sections += ["### Notes", "\n".join(notes)]
    if table.origin.commands:
        sections += ["Made by:", "\n".join(["```sh", *table.origin.commands, "```"])]
    return sections


def escaped(text: str) -> str:
    """Text that means itself in Markdown, in a table too."""
    return _ACTIVE.sub(lambda sign: f"\\{sign.group()}", " ".join(text.split()))


def _main(table: Table) -> str:
    columns = [TRIALS] if table.has_aligned else []
    for column in main_columns(table):
        columns += _metric_columns(column, table)
    columns += [
        TextColumn("align time", lambda row: seconds_text(row.align_seconds)),
        TextColumn("peak memory", lambda row: gibibytes_text(row.peak_rss_bytes)),
    ]
    if any(row.peak_device_bytes is not None for row in table.rows):
        columns.append(TextColumn("peak device memory", lambda row: gibibytes_text(row.peak_device_bytes)))
    if any(row.flags for row in table.rows):
        columns.append(TextColumn("flags", lambda row: "; ".join(row.flags), left=True))
    return _grid(table, columns)


def _metric_columns(column: Column, table: Table) -> list[TextColumn]:
    style, reasons = style_of(column), unpaired_reasons(table)

    def value(row: Row) -> str:
        score = row.scores.get(column.metric)
        return f"{value_text(score, style)} {interval_text(score, style)}".strip()

    def change(row: Row) -> str:
        score = row.scores.get(column.metric)
        if row.is_base or score is None or score.change is None:
            missing = MISSING + (reasons[score.unpaired] if score and score.unpaired else "")
            return "" if row.is_base else missing
        text, sign = change_text(score.change, style), verdict(score.change)
        marked = f"**{text}** {sign}" if sign else text
        return f"{marked}\n{change_interval_text(score.change, style)}"

    def rank(row: Row) -> str:
        score = row.scores.get(column.metric)
        return "" if row.is_base and score and score.rank is None else rank_text(score)

    columns = [TextColumn(direction(column), value)]
    if shows_ranks(table, column):
        columns.append(TextColumn("rank", rank))
    title = f"Δ {column.metric}" + (f", {style.change_head}" if style.change_head else "")
    return [*columns, TextColumn(title, change)] if table.compares else columns


def _task_column(column: Column, task: str) -> TextColumn:
    style = style_of(column)

    def text(row: Row) -> str:
        score = row.task_scores(column.metric).get(task)
        value = value_text(score, style)
        if score is None or score.change is None:
            return value
        change = change_text(score.change, style)
        return f"{value}\n(**{change}**\n{sign})" if (sign := verdict(score.change)) else f"{value}\n({change})"

    return TextColumn(task, text)


def _grid(table: Table, columns: Iterable[TextColumn], rows: Sequence[Row] | None = None) -> str:
    """A padded Markdown table of all rows, or some: which row it is, to the left, then numbers to the right, words to
    the left."""
    name = TextColumn("method", lambda r: f"{r.label} ({joined(r.settings)})" if r.settings else r.label, left=True)
    columns = [name, *condition_columns(table), *columns]
    body = [[_cell(column, row) for column in columns] for row in (table.rows if rows is None else rows)]
    lines = [[escaped(column.title) for column in columns], *body]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    padded = [
        [
            text.ljust(width) if column.left else text.rjust(width)
            for column, text, width in zip(columns, cells, widths, strict=True)
        ]
        for cells in lines
    ]
    rule = [
        "-" * max(width, 3) if column.left else "-" * max(width - 1, 2) + ":"
        for column, width in zip(columns, widths, strict=True)
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [padded[0], rule, *padded[1:]])


def _cell(column: TextColumn, row: Row) -> str:
    """Words as they are; numbers so that a browser breaks their lines only where the column's text does."""
    text = str(column.text(row))
    return escaped(text) if column.left else text.replace(" ", "\u00a0").replace("\n", " ")
