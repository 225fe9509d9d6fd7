"""`bench inspect`: one record, found by its path or cell, printed and drawn."""

from pathlib import Path

from bench.core.errors import BenchError, UsageError
from bench.display.console import print_json, print_paths, print_sections
from bench.leaderboard.inspection.sections import drawable, inspect_sections, inspection_json
from bench.leaderboard.records.lookup import find_record
from bench.leaderboard.records.record import Record, read_record

SUFFIXES = (".png", ".svg", ".pdf")


def inspect_record(target: str, form: str, *, plot: Path | None, draw: bool, directions: int) -> None:
    """Print what one cell's method did and draw it; the picture's path is the last line printed.

    Arguments:
        target: see `bench.leaderboard.records.lookup.find_record`.
        form: "table", "markdown" or "json"; JSON stands alone, with the path on standard error.
        plot: where the picture goes; None for a folder `figures` beside the run's records, or beside the record.
        draw: whether there is to be a picture.
        directions: how many of each layer's removed directions are put in tokens.

    Raises:
        UsageError: no record, or several, are meant; or there is nothing that could be drawn at `plot`.
        BenchError: the record cannot be read, or the picture cannot be written.
    """
    if plot is not None and plot.suffix not in SUFFIXES:
        raise UsageError(f"cannot draw '{plot}': its name must end in {', '.join(SUFFIXES)}")
    path = find_record(target)
    record = read_record(path)
    if plot is not None and not drawable(record):
        raise UsageError(f"there is nothing to draw of {record.cell_id}: its method reports neither layers nor curves")
    if form == "json":
        print_json(inspection_json(record))
    else:
        print_sections(inspect_sections(record, directions), form)
    if not draw or not drawable(record):
        return
    folder = path.parent.parent / "figures" if path.absolute().parent.name == "records" else path.parent
    print_paths([_draw(record, plot or folder / f"{path.stem}.png")], form)


def _draw(record: Record, path: Path) -> Path:
    from bench.leaderboard.figures.record import draw_record
    from bench.leaderboard.figures.style import save_figure

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_figure(draw_record(record), path)
    except OSError as error:
        raise BenchError(
            f"cannot write {path}: {error.strerror}; choose another place with --plot, or give --no-plot"
        ) from error
    return path
