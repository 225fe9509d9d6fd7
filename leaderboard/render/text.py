"""Sections as text: for a terminal, or as Markdown."""

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table as Grid
from rich.text import Text

from bench.leaderboard.render.grid import column_gap, framed
from bench.leaderboard.render.numbers import MINUS, MISSING
from bench.leaderboard.render.section import Section


class TerminalSections:
    """Sections as one rich renderable; 80 columns are enough."""

    def __init__(self, sections: Sequence[Section]) -> None:
        self._sections = sections

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for section in self._sections:
            if section.title:
                yield Text(f"\n {section.title}", "bold")
            yield _grid(section, gap=column_gap(options.max_width))


def section_markdown(sections: Sequence[Section]) -> str:
    """GitHub-flavoured Markdown: a heading and a table for every section."""
    return "\n".join(line for section in sections for line in _markdown(section))


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[bool] = ()) -> str:
    """A table of cells that are Markdown already.

    Arguments:
        right: of each column, whether it stands to the right; none for all to the left.
    """
    rule = "|".join("--:" if is_right else "---" for is_right in right or [False] * len(head))
    lines = (f"| {' | '.join(cells)} |" for cells in rows)
    return "\n".join([f"| {' | '.join(head)} |", f"|{rule}|", *lines])


def _grid(section: Section, gap: int) -> Grid:
    grid = framed(gap, head=bool(section.columns))
    if section.columns:
        for name, numeric in zip(section.columns, _numeric(section), strict=True):
            # Text, as a plain string is taken for markup: "toxicity [linear]" would lose the scorer.
            grid.add_column(Text(name), justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
    else:
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
    for row in section.rows:
        grid.add_row(*(Text(cell) for cell in row))
    return grid


def _markdown(section: Section) -> Iterator[str]:
    if section.title:
        yield f"### {_escaped(section.title)}\n"
    head, *rows = ([*map(_escaped, cells)] for cells in (section.columns or ("", ""), *section.rows))
    yield markdown_table(head, rows, right=_numeric(section) if section.columns else ())
    yield ""


def _escaped(cell: str) -> str:
    """A cell that Markdown shows as it is; tokens may hold anything."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]<>#|~" else c for c in cell)


def _numeric(section: Section) -> list[bool]:
    """Whether a column holds numbers alone, which stand to the right."""
    columns = zip(*section.rows, strict=True) if section.rows else [()] * len(section.columns)
    return [all(_is_number(cell) for cell in cells) for cells in columns]


def _is_number(cell: str) -> bool:
    bare = cell.removesuffix("°").removesuffix(" %").replace(",", "").replace(MINUS, "-")
    try:
        return bare in ("", MISSING) or float(bare) is not None
    except ValueError:
        return False
