"""The board that fits a screen: a line or two a row, and what it says in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from bench.core.errors import UsageError
from bench.core.registry import unknown
from bench.leaderboard.board.values import Column, Leaderboard, Row, Table
from bench.leaderboard.board.view import ORDERS, View, chosen_metrics
from bench.leaderboard.render.columns import TextColumn
from bench.leaderboard.render.findings import findings, row_label
from bench.leaderboard.render.grid import UNBOUNDED
from bench.leaderboard.render.noise import retained_text
from bench.leaderboard.render.notes import opening
from bench.leaderboard.render.numbers import (
    MISSING,
    change_interval_text,
    change_text,
    count_text,
    direction,
    gibibytes_text,
    interval_text,
    rate_text,
    seconds_text,
    style_of,
    value_text,
    verdict,
)

WIDE = 110
"""From this many columns on a row is one line."""
LAYOUTS = ((True, False), (False, False), (False, True))
"""Tried in turn until one fits: whether a row is one line, and whether metrics that are shares share a column."""
MOST_ROWS = 9
"""Of a table; of more, each method's lowest and highest noise are shown, and no more than these."""
MOST_FLAGGED = 2
PREFERENCE = "preference"
"""Metric whose value is shown, as its change against base says no more."""
SIDE_METRICS = ("toxicity", PREFERENCE, "perplexity", "capability")
"""Metrics that are shown beside the first, by their change alone."""
RETAINED, TIME = "retained", "time"
OTHERS = ("noise", "pairs", "seeds", RETAINED, "memory", TIME)
"""Columns besides metrics."""
COLOURS = {True: "green", False: "red", None: ""}


@dataclass(frozen=True, slots=True)
class _Named:
    """A column under the name by which it can be asked for."""

    name: str
    column: TextColumn


class BriefBoard:
    """A leaderboard in at most 25 lines for three methods with and without noise, as one rich renderable.

    Raises:
        UsageError: `view` names a column that the board does not have.
    """

    def __init__(self, board: Leaderboard, view: View | None = None) -> None:
        self._board, self._view = board, view or View()
        for name in self._view.columns:
            if name not in OTHERS:
                try:
                    chosen_metrics([name], board)
                except UsageError:
                    metrics = {column.metric for table in board.tables for column in table.columns}
                    raise unknown("column", name, {*OTHERS, *metrics}) from None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self._board.tables:
            yield Text("No finished cell yet.")
        inner = options.update(max_width=options.max_width - 1)
        for table in self._board.tables:
            for part in self._parts(table, console, inner):
                yield Padding(part, (0, 0, 0, 1))
        if failed := self._board.failed:
            more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
            yield Padding(Text.assemble(("failed: ", "bold red"), f"{failed[0].cell}{more}"), (0, 0, 0, 1))

    def _parts(self, table: Table, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        rows = shown_rows(table)
        yield opening(table)
        dropped: list[str] = []
        for wide, stacks in LAYOUTS:
            columns = self._columns(table, rows, wide=wide, stacks=stacks)
            grid = partial(_grid, table, rows, wide=wide, group_by=self._view.group_by)
            if (options.max_width + 1 >= WIDE or not wide) and _fits(grid(columns), console, options):
                break
        while len(columns) > 2 and not _fits(grid(columns), console, options):
            dropped.insert(0, columns.pop().name)
        yield grid(columns)
        if dropped:
            yield Text(f"no room for {', '.join(dropped)}: a wider terminal, or fewer --columns, shows it", "dim")
        if len(rows) < len(table.rows):
            yield Text(f"{len(table.rows) - len(rows)} rows more are in leaderboard.md", "dim")
        yield from _flags(table, rows)
        yield Text(findings(table, rows))

    def _columns(self, table: Table, rows: Sequence[Row], *, wide: bool, stacks: bool) -> list[_Named]:
        lead, between = table.columns[0], " " if wide else "\n"
        columns = {
            "noise": TextColumn("noise", _noise),
            lead.metric: TextColumn(_lead_title(lead, table), partial(_lead, lead, between)),
            RETAINED: TextColumn("gain\nretained", partial(_retained, lead.metric, between)),
            **{column.metric: TextColumn(_side_title(column), partial(_side, column)) for column in table.columns[1:]},
            "pairs": TextColumn("pairs", lambda row: count_text(row.n_pairs)),
            "seeds": TextColumn("seeds", lambda row: str(len(row.seeds)) if row.seeds else MISSING),
            "memory": TextColumn("peak\nmemory", lambda row: gibibytes_text(row.peak_rss_bytes)),
            TIME: TextColumn("align\ntime", lambda row: MISSING if row.is_base else seconds_text(row.align_seconds)),
        }
        asked = [name for column in self._view.columns for name in _metric_names(column, table)]
        if not asked:
            noisy = any(lead.metric in row.scores and row.scores[lead.metric].noise for row in rows)
            side = [
                column.metric
                for column in table.columns[1:]
                if column.metric in SIDE_METRICS or (column.metric != lead.metric and self._view.metrics)
            ]
            shares = [column for column in table.columns if column.metric in side and style_of(column).change_head]
            if stacks and len(shares) > 1:
                both = ", ".join(column.metric for column in shares)
                columns[both] = TextColumn("\n".join(column.metric for column in shares), partial(_stacked, shares))
                side = [both, *(name for name in side if name not in both.split(", "))]
            asked = ["noise", lead.metric, *([RETAINED] if noisy else []), *side, TIME]
        hidden = set() if wide else {"noise"}  # below the method's name
        return [_Named(name, columns[name]) for name in dict.fromkeys(asked) if name not in hidden]


def _metric_names(name: str, table: Table) -> list[str]:
    """A column's name, or the table's metrics that it stands for."""
    metrics = [column.metric for column in table.columns]
    return [name] if name in OTHERS else [one for one in metrics if name in (one, one.partition(" [")[0])]


def _fits(grid: Grid, console: Console, options: ConsoleOptions) -> bool:
    return Measurement.get(console, options.update(max_width=UNBOUNDED), grid).maximum <= options.max_width


def _flags(table: Table, rows: Sequence[Row]) -> Iterator[Text]:
    flagged = [row for row in rows if row.flags]
    for row in flagged[:MOST_FLAGGED]:
        name = f"{row_label(table, row)} {_noise(row)}".rstrip()
        flags = f"{name}: {'; '.join(row.flags)}"
        yield Text.assemble(("! ", "yellow"), flags, no_wrap=True, overflow="ellipsis")
    if len(flagged) > MOST_FLAGGED:
        yield Text(f"! {len(flagged) - MOST_FLAGGED} rows more have warnings", "yellow")


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


def _grid(table: Table, rows: Sequence[Row], columns: Sequence[_Named], *, wide: bool, group_by: str | None) -> Grid:
    grid = Grid(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 1 if wide else 0))
    grid.add_column("method", overflow="fold")
    for named in columns:
        grid.add_column(Text(named.column.title), justify="right", no_wrap=True)
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        name = Text.assemble((row_label(table, row), "bold"), (" !" if row.flags else "", "yellow"))
        if not wide and not row.is_base:
            name.append(f"\n{_noise(row) if row.noise_rate else 'no'} noise", "dim")
        texts = (named.column.text(row) for named in columns)
        group = ORDERS[group_by] if group_by is not None else None
        last = group is not None and following is not None and (row.is_base or group(row) != group(following))
        grid.add_row(name, *(Text(text) if isinstance(text, str) else text for text in texts), end_section=last)
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


def _stacked(columns: Sequence[Column], row: Row) -> Text:
    """A line a metric; of base all on one, as it has a single one."""
    texts = [_side(column, row) for column in columns]
    if not row.is_base:
        return Text("\n").join(texts)
    return Text(", ".join(text.plain.removesuffix(style_of(columns[0]).unit).strip() for text in texts))


def _side_title(column: Column) -> str:
    name, arrow = direction(column).rsplit(" ", 1)
    change = "accuracy" if column.metric == PREFERENCE else f"Δ {style_of(column).change_head}"
    return f"{name}\n{arrow} {change}".rstrip()


def _side(column: Column, row: Row) -> Text:
    score, style = row.scores.get(column.metric), style_of(column)
    if row.is_base or score is None or score.change is None:
        return Text(value_text(score, style))
    if column.metric == PREFERENCE:
        value = f"{value_text(score, style)} {verdict(score.change)}".rstrip()
        return Text(value, style=COLOURS[score.change.better])
    change = f"{change_text(score.change, style)} {verdict(score.change)}".rstrip()
    return Text(change, style=COLOURS[score.change.better])
