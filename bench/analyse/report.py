"""`bench report`: pictures of a run's curves, the numbers behind them, and what they come to."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.core.errors import BenchError, UsageError
from bench.core.files import write_atomic, write_json
from bench.core.registry import unknown
from bench.core.values import BASE
from bench.harness.directory import RunDirectory
from bench.leaderboard.board.margins import read_rise
from bench.leaderboard.records.rescored import read_scored_records
from bench.leaderboard.study.charts import Chart, csv_text
from bench.leaderboard.study.page import DEFAULT_PICTURES, report_page
from bench.leaderboard.study.report import Drawn, MissingCell, make_report

FORMATS = ("png", "svg", "pdf")
"""Of pictures."""
OURS = (*(f".{form}" for form in FORMATS), ".csv")
"""Endings of what a report is made of, beside `report.md` and `report.json`."""


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
    return make_report(records, _missing(directory, {record.cell_id for record in records}), read_rise(directory))


def picture_formats(text: str) -> tuple[str, ...]:
    """`"pdf,svg"` as formats.

    Raises:
        UsageError: one is unknown, or there is none.
    """
    formats = tuple(dict.fromkeys(name.strip().casefold().removeprefix(".") for name in text.split(",")))
    for name in formats:
        if name not in FORMATS:
            raise unknown("picture format", name, FORMATS)
    return formats


def write_pages(drawn: Drawn, folder: Path, *, pictures: Sequence[str] = DEFAULT_PICTURES, titles: bool = True) -> Path:
    """Write pictures, numbers and page; what an earlier report left there and this one lacks is removed.

    Arguments:
        pictures: of `FORMATS`.
        titles: whether pictures have their title in them.

    Returns:
        The page, which is written last.

    Raises:
        BenchError: it cannot be written.
    """
    page = folder / "report.md"
    try:
        earlier = _earlier(folder)
        folder.mkdir(parents=True, exist_ok=True)
        written = {
            path.name
            for chart in drawn.charts.values()
            for path in _write_chart(chart, folder, pictures=pictures, titles=titles)
        }
        write_json(folder / "report.json", drawn.report.model_dump(mode="json") | {"files": sorted(written)})
        for name in earlier - written:
            (folder / name).unlink(missing_ok=True)
        write_atomic(page, report_page(drawn, pictures))
    except OSError as error:
        raise BenchError(
            f"cannot write {error.filename or folder}: {error.strerror or error}; make room, or choose another place "
            "with --out"
        ) from error
    return page


def _write_chart(chart: Chart, folder: Path, *, pictures: Sequence[str], titles: bool) -> Iterator[Path]:
    from bench.leaderboard.figures.study import draw_chart
    from bench.leaderboard.figures.style import save_figure

    figure = draw_chart(chart, title=titles)
    for form in pictures:
        path = folder / f"{chart.stem}.{form}"
        save_figure(figure, path)
        yield path
    numbers = folder / f"{chart.stem}.csv"
    write_atomic(numbers, csv_text(chart))
    yield numbers


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
