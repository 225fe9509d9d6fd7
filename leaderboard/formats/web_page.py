"""A board as one page of HTML that loads nothing: tables and notes, everything in them escaped."""

from pathlib import Path

from jinja2 import Environment, StrictUndefined

from bench.leaderboard.board.values import Leaderboard
from bench.leaderboard.formats.paper import paper_table
from bench.leaderboard.render.notes import table_notes

TEMPLATE = Path(__file__).with_name("board.html.jinja")


def board_html(board: Leaderboard) -> str:
    """The page; what a model, a file or a configuration wrote is text in it, never markup."""
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(TEMPLATE.read_text(encoding="utf-8"))
    tables = [(paper_table(table), table_notes(table), table.origin.commands) for table in board.tables]
    return template.render(tables=tables, failed=board.failed) + "\n"
