"""The leaderboard on a terminal: the page's numbers, fitted to the width there is."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.text import Text

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
from bench.leaderboard.render.grid import RowGrid, column_gap
from bench.leaderboard.render.notes import FAILED, RANK, opening, shows_ranks, table_notes, unpaired_reasons
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
    style_of,
    value_text,
    verdict,
)
from bench.leaderboard.render.side_tables import side_tables
from bench.leaderboard.render.text import TerminalSections

WIDE = 134
"""From this many columns on, a value stands beside its interval and not above it."""
COLOURS = {True: "green", False: "red", None: ""}


class TerminalBoard:
    """A leaderboard as one rich renderable. 80 columns are enough; more let more metrics stand side by side."""

    def __init__(self, board: Leaderboard) -> None:
        self._board = board

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self._board.tables:
            yield Text("No finished cell yet.")
        for table in self._board.tables:
            yield from _parts(table, options.max_width)
        if self._board.failed:
            yield Text.assemble("\n ", ("failed cells", "bold red"), f" · {FAILED}")
        for cell in self._board.failed:
            yield Padding(Text.assemble((f"{cell.cell}: ", "bold"), cell.error), (0, 0, 0, 1))


def _parts(table: Table, width: int) -> Iterator[RenderableType]:
    gap = column_gap(width)
    yield Padding(opening(table), (1, 0, 0, 1))
    yield _main(table, wide=width >= WIDE)
    for row in table.rows:
        if row.flags:  # what the exclamation marks mean
            given = [*(f"{name}={value}" for name, value in row.settings.items()), *_condition(row)]
            flags = "".join(f", {part}" for part in given) + f": {'; '.join(row.flags)}"
            yield Text.assemble((" ! ", "yellow"), (row.label, "bold"), flags)
    yield TerminalSections(comparison_sections(table, between="\n"))
    for column in table.columns:
        if names := task_names(table, column):
            yield _by_task(table, column, names, gap)
    for beside in side_tables(table):
        if beside.needed:
            columns = [_folded(column) for column in beside.columns]
            yield RowGrid(table.rows, [SHORT_NAME], columns, beside.title, gap)
    if table.has_aligned:
        yield _budget(table)
    if shows_spread(table):
        columns = [spread_column(column) for column in table.columns]
        rows = [row for row in table.rows if len(row.seeds) > 1]
        yield RowGrid(rows, [SHORT_NAME], columns, "standard deviation between seeds (lowest to highest)")
    for note in table_notes(table):
        yield Padding(Text.assemble((f"{note.label}: ", "bold"), note.text, style="dim"), (0, 0, 0, 1))


def _main(table: Table, *, wide: bool) -> RowGrid:
    leading = [TextColumn("method", _name if wide else _name_and_condition, left=True)]
    if wide:
        leading += [*condition_columns(table), *([TRIALS] if table.has_aligned else [])]
    cost = TextColumn(
        "align time\npeak memory",
        lambda row: f"{seconds_text(row.align_seconds)}\n{gibibytes_text(row.peak_rss_bytes)}",
    )
    return RowGrid(
        table.rows, leading, [*(_score_column(column, table, wide=wide) for column in main_columns(table)), cost]
    )


def _name(row: Row) -> Text:
    text = Text.assemble((row.label, "bold"), (" !" if row.flags else "", "yellow"))
    for name, value in row.settings.items():
        text.append(f"\n{name}={value}")
    return text


def _name_and_condition(row: Row) -> Text:
    text = _name(row)
    seeds = [f"{len(row.seeds)} seeds"] if len(row.seeds) > 1 else []
    trials = [] if row.is_base or row.budget.trials is None else [f"{count_text(row.budget.trials)} trials"]
    for line in [*_condition(row), *seeds, *trials]:
        text.append(f"\n{line}", style="dim")
    return text


def _condition(row: Row) -> list[str]:
    """What a method was given."""
    return [] if row.is_base else [f"{count_text(row.n_pairs)} pairs", f"{rate_text(row.noise_rate)} noise"]


def _score_column(column: Column, table: Table, *, wide: bool) -> TextColumn:
    """Value and interval, then change and its interval: two lines where there is room, four where not."""
    style, reasons = style_of(column), unpaired_reasons(table)
    change_head = f"\n{f'Δ {style.change_head}'.strip()}" if table.compares else ""
    between, ranked = " " if wide else "\n", shows_ranks(table, column)

    def cell(row: Row) -> Text:
        score = row.scores.get(column.metric)
        text = Text(f"{RANK}{rank_text(score)} " if ranked and score and score.rank else "", "dim")
        text.append(value_text(score, style), style="not dim")
        if interval := interval_text(score, style):
            text.append(between + interval, style="dim")
        if score and score.change:
            change = f"{change_text(score.change, style)} {verdict(score.change)}".rstrip()
            text.append(f"\n{change}", style=COLOURS[score.change.better])
            text.append(between + change_interval_text(score.change, style), style="dim")
        elif score and score.unpaired:
            text.append(f"\n{MISSING}{reasons[score.unpaired]}")
        return text

    return TextColumn(f"{direction(column)}{change_head}", cell)


def _by_task(table: Table, column: Column, names: Sequence[str], gap: int) -> RowGrid:
    """One row a method, because there may be many; the change stands below the value."""
    style = style_of(column)

    def task_column(name: str) -> TextColumn:
        def cell(row: Row) -> Text:
            score = row.task_scores(column.metric).get(name)
            text = Text(value_text(score, style).removesuffix(style.unit))
            if score and score.change:
                change = f"{change_text(score.change, style)}{verdict(score.change)}"
                text.append(f"\n{change}", style=COLOURS[score.change.better] or "dim")
            return text

        return TextColumn(name.replace("_", "\n"), cell)

    title = f"{column.metric} by task{', in' + style.unit if style.unit else ''}"
    return RowGrid(table.rows, [SHORT_NAME], [task_column(name) for name in names], title, gap)


def _folded(column: TextColumn) -> TextColumn:
    """The same column, narrower and with more lines."""
    return TextColumn(
        column.title.replace(" ", "\n"), lambda row: str(column.text(row)).replace(" [", "\n[").replace(" (", "\n(")
    )


def _budget(table: Table) -> RowGrid:
    """What each row was given and took; on which device, where not all ran on the same."""
    devices = sorted({row.device for row in table.rows})

    def stacked(columns: Sequence[TextColumn]) -> TextColumn:
        title = "\n".join(column.title for column in columns)
        return TextColumn(title, lambda row: "\n".join(str(column.text(row)) for column in columns))

    columns = [stacked(list(group)) for _, group in groupby(budget_columns(table), attrgetter("subject"))]
    if len(devices) > 1:
        columns.append(TextColumn("device", lambda row: row.device, left=True))
    pairs, *_ = condition_columns(table)
    name = TextColumn("method", lambda row: _short_name(row, f"{rate_text(row.noise_rate)} noise"), left=True)
    title = "budget" + (f" on {devices[0]}" if len(devices) == 1 else "")
    return RowGrid(table.rows, [name, pairs], columns, title, gap=1)


def _short_name(row: Row, condition: str) -> Text:
    settings = f" {joined(row.settings)}" if row.settings else ""
    return Text.assemble((row.label, "bold"), settings, ("" if row.is_base else f"\n{condition}", "dim"))


SHORT_NAME = TextColumn(
    "method", lambda row: _short_name(row, f"{count_text(row.n_pairs)}, {rate_text(row.noise_rate)}"), left=True
)
