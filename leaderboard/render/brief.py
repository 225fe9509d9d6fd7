"""The board that fits a screen: a line or two a row, and what it says in words."""

from collections.abc import Iterator, Sequence
from functools import partial

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from bench.leaderboard.board.values import Column, Leaderboard, Row, Table
from bench.leaderboard.render.columns import TextColumn
from bench.leaderboard.render.findings import findings, row_label
from bench.leaderboard.render.noise import retained_text
from bench.leaderboard.render.notes import subtitle
from bench.leaderboard.render.numbers import (
    MISSING,
    change_interval_text,
    change_text,
    direction,
    interval_text,
    rate_text,
    seconds_text,
    style_of,
    value_text,
    verdict,
)

WIDE = 110
"""From this many columns on a row is one line."""
MOST_ROWS = 9
"""Of a table; of more, each method's lowest and highest noise are shown, and no more than these."""
MOST_FLAGGED = 2
SIDE_METRICS = ("toxicity", "preference", "perplexity", "capability")
"""Metrics of which the change alone is shown, beside the first."""
COLOURS = {True: "green", False: "red", None: ""}


class BriefBoard:
    """A leaderboard in at most 25 lines for three methods with and without noise, as one rich renderable."""

    def __init__(self, board: Leaderboard) -> None:
        self._board = board

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self._board.tables:
            yield Text("No finished cell yet.")
        for table in self._board.tables:
            for part in _parts(table, options.max_width):
                yield Padding(part, (0, 0, 0, 1))
        if failed := self._board.failed:
            more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
            yield Padding(Text.assemble(("failed: ", "bold red"), f"{failed[0].cell}{more}"), (0, 0, 0, 1))


def _parts(table: Table, width: int) -> Iterator[RenderableType]:
    rows = shown_rows(table)
    more = subtitle(table)
    yield Text.assemble((table.locator, "bold"), f" · {more}" if more else "")
    yield _grid(table, rows, wide=width >= WIDE)
    if len(rows) < len(table.rows):
        yield Text(f"{len(table.rows) - len(rows)} rows more are in leaderboard.md", "dim")
    flagged = [row for row in rows if row.flags]
    for row in flagged[:MOST_FLAGGED]:
        name = f"{row_label(table, row)} {_noise(row)}".rstrip()
        flags = f"{name}: {'; '.join(row.flags)}"
        yield Text.assemble(("! ", "yellow"), flags, no_wrap=True, overflow="ellipsis")
    if len(flagged) > MOST_FLAGGED:
        yield Text(f"! {len(flagged) - MOST_FLAGGED} rows more have warnings", "yellow")
    yield Text(findings(table, rows))


def shown_rows(table: Table) -> list[Row]:
    """All rows, or of many each method's lowest and highest noise, or the first of these."""
    rows = list(table.rows)
    if len(rows) > MOST_ROWS:
        by_method: dict[str, list[Row]] = {}
        for row in rows:
            by_method.setdefault(row_label(table, row), []).append(row)
        ends = [row for group in by_method.values() for row in (_by_noise(group)[0], _by_noise(group)[-1])]
        rows = [row for row in rows if row in ends]
    return rows[:MOST_ROWS]


def _by_noise(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row.noise_rate or 0.0)


def _grid(table: Table, rows: Sequence[Row], *, wide: bool) -> Grid:
    lead, between = table.columns[0], " " if wide else "\n"
    columns = [TextColumn("noise", _noise)] if wide else []
    columns.append(TextColumn(_lead_title(lead, table), partial(_lead, lead, between)))
    if any(lead.metric in row.scores and row.scores[lead.metric].noise for row in rows):
        columns.append(TextColumn("gain\nretained", partial(_retained, lead.metric, between)))
    columns += _side_columns(table, wide=wide)
    columns.append(TextColumn("align\ntime", lambda row: MISSING if row.is_base else seconds_text(row.align_seconds)))
    grid = Grid(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 1 if wide else 0))
    grid.add_column("method", overflow="fold")
    for column in columns:
        grid.add_column(Text(column.title), justify="right", no_wrap=True)
    for row in rows:
        name = Text.assemble((row_label(table, row), "bold"), (" !" if row.flags else "", "yellow"))
        if not wide and not row.is_base:
            name.append(f"\n{_noise(row) if row.noise_rate else 'no'} noise", "dim")
        texts = (column.text(row) for column in columns)
        grid.add_row(name, *(Text(text) if isinstance(text, str) else text for text in texts))
    return grid


def _noise(row: Row) -> str:
    return "" if row.is_base else rate_text(row.noise_rate)


def _lead_title(column: Column, table: Table) -> str:
    style = style_of(column)
    unit = style.change_head or style.change_unit.strip()
    change = f"Δ [95 %], {unit}" if unit else "Δ [95 %]"
    return f"{direction(column)}\n{change}" if table.compares else direction(column)


def _lead(column: Column, between: str, row: Row) -> Text:
    """Value and change, then the change's interval; of base the value and its own."""
    score, style = row.scores.get(column.metric), style_of(column)
    text = Text(value_text(score, style))
    if score and score.change:
        change = f"{change_text(score.change, style).removesuffix(style.change_unit)} {verdict(score.change)}".rstrip()
        text.append(f" {change}", style=COLOURS[score.change.better])
        text.append(between + change_interval_text(score.change, style), style="dim")
    elif row.is_base and " " in between:
        text.append(between + interval_text(score, style), style="dim")
    return text


def _retained(metric: str, between: str, row: Row) -> str:
    return retained_text(row, metric, between) if row.noise_rate else ""


def _side_columns(table: Table, *, wide: bool) -> list[TextColumn]:
    """The further metrics; where there is little room, those that change by points stand one above the other."""
    side = [column for column in table.columns[1:] if column.metric in SIDE_METRICS]
    shares = [] if wide else [column for column in side if style_of(column).change_head]
    stacked = shares if len(shares) > 1 else []
    columns = [TextColumn("\n".join(one.metric for one in stacked), partial(_stacked, stacked))] if stacked else []
    return columns + [TextColumn(_side_title(one), partial(_side, one)) for one in side if one not in stacked]


def _stacked(columns: Sequence[Column], row: Row) -> Text:
    """A line a metric; of base all on one, as it has a single one."""
    texts = [_side(column, row) for column in columns]
    if not row.is_base:
        return Text("\n").join(texts)
    return Text(", ".join(text.plain.removesuffix(style_of(columns[0]).unit) for text in texts))


def _side_title(column: Column) -> str:
    name, arrow = direction(column).rsplit(" ", 1)
    return f"{name}\n{arrow} Δ {style_of(column).change_head}".rstrip()


def _side(column: Column, row: Row) -> Text:
    score, style = row.scores.get(column.metric), style_of(column)
    if row.is_base or score is None or score.change is None:
        return Text(value_text(score, style))
    change = f"{change_text(score.change, style)} {verdict(score.change)}".rstrip()
    return Text(change, style=COLOURS[score.change.better])
