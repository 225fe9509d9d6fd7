"""What the commands print: results to standard output, everything else to standard error."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rich.console import Console

from bench.core.errors import UsageError
from bench.display.live import LiveDisplay, PlainDisplay, display

LOG = Console(stderr=True, soft_wrap=False)
RESULT = Console(width=None if sys.stdout.isatty() else 200)


def progress_display() -> LiveDisplay | PlainDisplay:
    """Where a running verb shows what it is doing."""
    return display(LOG)


def write_line(text: str) -> None:
    """One line of result, exactly as it is: never wrapped, never coloured."""
    sys.stdout.write(f"{text}\n")


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written in the end.

    Raises:
        UsageError: it is a folder, or its folder is not there or not writable.
    """
    if path.is_dir() or not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise UsageError(f"cannot write {path}: give a file in an existing, writable folder")
