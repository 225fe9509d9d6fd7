"""What `bench report` prints; makes the report and has it written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.analyse.report import read_report, report_json, write_pages
from bench.display.console import LOG, RESULT, write_line
from bench.leaderboard.study.page import missing_line, summary_sections
from bench.leaderboard.study.report import Drawn


def report_run(directory: Path, form: str, out: Path | None = None) -> Path:
    """Write a run's report and print its tables; the page's path is the last line printed.

    Arguments:
        directory: a run's or study's; it may be unfinished, or still at work.
        form: "table", "markdown" or "json"; JSON stands alone, with the path on standard error.
        out: where the report goes; None for `directory/report`.

    Returns:
        The page.

    Raises:
        UsageError: the directory is no run's, or holds nothing but the unaligned model.
        BenchError: a record cannot be read, or the report cannot be written.
    """
    drawn = read_report(directory)
    folder = out or directory / "report"
    page = write_pages(drawn, folder)
    show_report(drawn, form)
    if form == "json":
        LOG.print(str(page), markup=False, highlight=False, soft_wrap=True)
    else:
        write_line(str(page))
    return page


def show_report(drawn: Drawn, form: str) -> None:
    """Print the tables to standard output, what is missing and the notes with them."""
    if form == "json":
        write_line(json.dumps(report_json(drawn), indent=1, ensure_ascii=False, allow_nan=False))
        return
    from bench.leaderboard.render.text import TerminalSections, section_markdown

    for section in drawn.report.sections:
        if form == "markdown":
            lines = [f"## {section.title}", section_markdown(summary_sections(section, between=" "))]
            notes = [f"- {note}" for note in (missing_line(section), *section.notes) if note]
            sys.stdout.write("\n".join([*lines, *notes]) + "\n\n")
            continue
        RESULT.print(section.title, style="bold", markup=False, highlight=False)
        RESULT.print(TerminalSections(summary_sections(section, between="\n")))
        if section.missing:
            RESULT.print(f" {missing_line(section)}", style="yellow", markup=False, highlight=False)
        for note in section.notes:
            RESULT.print(f" {note}", style="dim", markup=False, highlight=False)
