"""Messages about work that is going on, on a terminal and in a file."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench.display.live import LiveDisplay

PATH = "/a/long path with spaces" + "/and-more" * 40


@pytest.mark.parametrize("columns", [80, 200])
def test_a_message_in_a_file_is_one_line_whatever_is_in_it(columns: int) -> None:
    stream = io.StringIO()
    with LiveDisplay(Console(file=stream, width=columns)) as display:
        display.note(f"details of what failed are in {PATH}: [bold]as they are[/bold]")
    assert stream.getvalue() == f"details of what failed are in {PATH}: [bold]as they are[/bold]\n"


def test_a_message_on_a_terminal_fits_it() -> None:
    stream = io.StringIO()
    with LiveDisplay(Console(file=stream, width=40, force_terminal=True, _environ={})) as display:
        display.note("one word after another " * 10)
    assert max(map(len, stream.getvalue().splitlines())) <= 60  # with the terminal's own signs
