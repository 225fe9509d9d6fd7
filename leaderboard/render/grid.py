"""A table that fits a terminal: columns for which there is no room go into a further table below, none is cut."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table as Grid
from rich.text import Text

from bench.leaderboard.board.values import Row
from bench.leaderboard.render.columns import TextColumn

ROOMY = 100
"""From this many columns of a terminal on, columns of a table stand two spaces apart."""
UNBOUNDED = 100_000
"""Columns of a terminal on which everything fits."""
TITLE_WIDTH = 24
"""Longest line of a column's title; the settings of a scorer may make it longer."""
NAME_SHARE = 0.3
"""Share of the terminal that the first column may take; longer names are folded."""


def column_gap(width: int) -> int:
    """Spaces between columns on a terminal of so many columns."""
    return 2 if width >= ROOMY else 1


def framed(gap: int, *, head: bool = True) -> Grid:
    """An empty table as all of ours look, with a line below its head if it has one."""
    return Grid(box=SIMPLE_HEAD if head else None, show_header=head, pad_edge=False, padding=(0, 1, 0, gap - 1))


@dataclass(frozen=True, slots=True)
class RowGrid:
    """One line or more a row of a board, as one rich renderable."""

    rows: Sequence[Row]
    leading: Sequence[TextColumn]
    """What says which row it is: at the left of every table."""
    columns: Sequence[TextColumn]
    title: str = ""
    gap: int = 2
    """Spaces between columns."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.title:
            yield Text(f"\n {self.title}", "bold")
        for columns in self._groups(console, options):
            yield self._grid(columns, options.max_width)

    def _groups(self, console: Console, options: ConsoleOptions) -> list[list[TextColumn]]:
        """Columns in their order, as many a table as fit; one that does not fit even alone stands alone."""

        def fits(columns: Sequence[TextColumn]) -> bool:
            grid = self._grid(columns, options.max_width)
            return Measurement.get(console, options.update(max_width=UNBOUNDED), grid).maximum <= options.max_width

        groups: list[list[TextColumn]] = [[]]
        for column in self.columns:
            if groups[-1] and not fits([*groups[-1], column]):
                groups.append([])
            groups[-1].append(column)
        if len(groups) > 1 and len(groups[-1]) == 1 and len(groups[-2]) > 2 and fits([groups[-2][-1], *groups[-1]]):
            groups[-1].insert(0, groups[-2].pop())  # rather than a table for one column
        return groups

    def _grid(self, columns: Sequence[TextColumn], width: int) -> Grid:
        grid = framed(self.gap)
        first, *others = self.leading
        grid.add_column(first.title, max_width=max(TITLE_WIDTH, int(NAME_SHARE * width)), overflow="fold")
        for column in (*others, *columns):  # Text, as a plain string is markup: "toxicity [linear]" loses the scorer
            grid.add_column(Text(_folded(column.title)), justify="left" if column.left else "right", no_wrap=True)
        for row in self.rows:
            cells = (column.text(row) for column in (*self.leading, *columns))
            texts = (Text(cell) if isinstance(cell, str) else cell for cell in cells)
            grid.add_row(*texts, end_section=row is not self.rows[-1])
        return grid


def _folded(title: str) -> str:
    """A title on lines of bearable length: `toxicity [bilstm, label=insult] ↓` on three."""
    lines = title.replace(" [", "\n[").replace(", ", ",\n").split("\n")
    return "\n".join(
        line[start : start + TITLE_WIDTH] for line in lines for start in range(0, max(len(line), 1), TITLE_WIDTH)
    )
