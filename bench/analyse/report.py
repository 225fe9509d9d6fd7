"""`bench report`: pictures of a run's curves, the numbers behind them, and what they come to."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError, UsageError
from bench.core.files import write_atomic, write_json
from bench.display.console import LOG, RESULT, write_line
from bench.harness.directory import RunDirectory
from bench.leaderboard.board.values import BASE
from bench.leaderboard.records.rescored import read_scored_records
from bench.leaderboard.study.charts import Chart, csv_text
from bench.leaderboard.study.page import missing_line, report_page, summary_sections
from bench.leaderboard.study.report import Drawn, MissingCell, make_report

PICTURES = (".png", ".svg")
OURS = (*PICTURES, ".csv")
"""Endings of what a report is made of, beside `report.md` and `report.json`."""


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


def read_report(directory: Path) -> Drawn:
    """Make the report of a directory's records; nothing is written.

    Raises:
        UsageError: the directory is no run's, or holds nothing but the unaligned model.
        BenchError: a record cannot be read; names the file.
    """
    if not (directory / "records").is_dir():
        raise UsageError(f"{directory} has no folder 'records': give the directory that a run or study wrote to")
    records = read_scored_records(directory)
    if not any(record.method.name != BASE for record in records):
        content = "no finished cell" if not records else "the unaligned model alone"
        raise UsageError(
            f"{directory / 'records'} holds {content}: there is nothing to report on until a method has run"
        )
    return make_report(records, _missing(directory, {record.cell_id for record in records}))


def write_pages(drawn: Drawn, folder: Path) -> Path:
    """Write pictures, numbers and page; what an earlier report left there and this one lacks is removed.

    Returns:
        The page, which is written last.

    Raises:
        BenchError: it cannot be written.
    """
    # Otherwise it speaks of its caches, which are no concern of a reader.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    page = folder / "report.md"
    with _writing(folder):
        earlier = _earlier(folder)
        folder.mkdir(parents=True, exist_ok=True)
        written = {path.name for chart in drawn.charts.values() for path in _write_chart(chart, folder)}
        write_json(folder / "report.json", _json(drawn) | {"files": sorted(written)})
        for name in earlier - written:
            (folder / name).unlink(missing_ok=True)
        write_atomic(page, report_page(drawn))
    return page


def show_report(drawn: Drawn, form: str) -> None:
    """Print the tables to standard output, what is missing and the notes with them."""
    if form == "json":
        write_line(json.dumps(_json(drawn), indent=1, ensure_ascii=False, allow_nan=False))
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


def _write_chart(chart: Chart, folder: Path) -> Iterator[Path]:
    from bench.leaderboard.figures.record import save_figure
    from bench.leaderboard.figures.study import draw_chart

    figure = draw_chart(chart)
    for suffix in PICTURES:
        path = folder / f"{chart.stem}{suffix}"
        save_figure(figure, path)
        yield path
    numbers = folder / f"{chart.stem}.csv"
    write_atomic(numbers, csv_text(chart))
    yield numbers


def _json(drawn: Drawn) -> dict[str, Any]:
    return drawn.report.model_dump(mode="json")


def _earlier(folder: Path) -> set[str]:
    """Files that an earlier report wrote there, as it says itself."""
    try:
        names = json.loads((folder / "report.json").read_bytes())["files"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return set()
    return {name for name in names if Path(name).name == name and Path(name).suffix in OURS}


def _missing(directory: Path, there: set[str]) -> list[MissingCell] | None:
    """Cells of the newest run without a record; None where it left no list of its cells."""
    run = RunDirectory(directory)
    try:
        cells = run.cells()
    except UsageError:
        return None
    return [
        MissingCell(**cell.model_dump(exclude={"id"}), failure=run.failure(cell.id))
        for cell in cells
        if cell.id not in there
    ]


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BenchError(
            f"cannot write {error.filename or folder}: {error.strerror or error}; make room, or choose another place "
            "with --out"
        ) from error
