"""What all commands print by: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bench.core.environment import LAUNCHERS, overriding
from bench.core.errors import UsageError
from bench.display.live import LiveDisplay, print_message
from bench.display.streams import is_unicode
from bench.leaderboard.render.section import Section
from bench.leaderboard.render.text import TerminalSections, section_markdown

if TYPE_CHECKING:
    from bench.leaderboard.board.values import Leaderboard

FILE_COLUMNS = 200
"""Width of tables in a file or a pipe, where neither a terminal nor COLUMNS says how much fits."""
LOG = Console(stderr=True, width=None if sys.stderr.isatty() else FILE_COLUMNS)
RESULT = Console(width=None if sys.stdout.isatty() or os.environ.get("COLUMNS") else FILE_COLUMNS)


def progress_display() -> LiveDisplay:
    """Where a running command shows what it is doing; says first which environment variables training does without."""
    ignored = overriding(os.environ)
    if ignored:
        log(f"the configuration alone decides how to train; not read from the environment: {', '.join(ignored)}")
    if any(map(LAUNCHERS.fullmatch, ignored)):
        log("this process works by itself, whatever launched it; several share the cells of one --out among them")
    return LiveDisplay(LOG)


def log(text: str, style: str | None = None) -> None:
    """A message to standard error, as it is: markup in it is text, and only a terminal wraps it."""
    print_message(LOG, text, style)


def print_board(console: Console, board: Leaderboard) -> None:
    """The board as tables that fit the console's width."""
    from bench.leaderboard.render.terminal import TerminalBoard

    console.print(TerminalBoard(board))


def write_line(*lines: str) -> None:
    """Lines of result, exactly as they are: never wrapped, never coloured."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


def print_json(value: Mapping[str, Any]) -> None:
    """A result for a program to read: every number at full precision, every character, escaped where it must be."""
    write_line(json.dumps(value, indent=1, ensure_ascii=not is_unicode(), allow_nan=False))


def print_sections(sections: Sequence[Section], form: str) -> None:
    """Tables as a result.

    Arguments:
        form: "markdown" or "table", which fits the terminal.
    """
    if form == "markdown":
        write_line(section_markdown(sections))
    else:
        RESULT.print(TerminalSections(sections))


def print_note(text: str, style: str = "dim") -> None:
    """A remark below tables on a terminal."""
    RESULT.print(text, style=style, markup=False, highlight=False)


def print_paths(paths: Sequence[Path], form: str) -> None:
    """Where results were written; on standard error where the result itself is JSON, which stands alone."""
    for path in paths:
        if form == "json":
            LOG.print(str(path), markup=False, highlight=False, soft_wrap=True)
        else:
            write_line(str(path))


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written in the end.

    Raises:
        UsageError: it is a folder, or its folder is not there or not writable.
    """
    if path.is_dir() or not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise UsageError(f"cannot write {path}: give a file in an existing, writable folder")
