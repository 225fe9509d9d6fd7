"""The verb that makes a study's report: parse, call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Format


def report(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="A run's or study's directory.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the report.", show_default="RUN/report")] = None,
    format: Annotated[Format, typer.Option("--format", "-f", help="How to print the tables.")] = Format.table,
) -> None:
    """Draw a study's curves over noise and numbers of pairs, with the numbers behind them and what they come to."""
    from bench.analyse.report import report_run as make_report

    make_report(directory, format.value, out)
