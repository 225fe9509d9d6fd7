"""What `bench report` prints; makes the report and has it written."""

from pathlib import Path

from bench.analyse.report import picture_formats, read_report, write_pages
from bench.display.console import print_json, print_note, print_paths, print_sections, write_line
from bench.leaderboard.study.page import DEFAULT_PICTURES, missing_line, summary_sections


def report_run(
    directory: Path, form: str, out: Path | None = None, *, figures: str | None = None, titles: bool = True
) -> Path:
    """Write a run's report and print its tables; the page's path is the last line printed.

    Arguments:
        directory: a run's or study's; it may be unfinished, or still at work.
        form: "table", "markdown" or "json"; JSON stands alone, with the path on standard error.
        out: where the report goes; None for `directory/report`.
        figures: formats of pictures, e.g. "pdf,svg"; None for the usual ones.
        titles: whether pictures have their title in them.

    Returns:
        The page.

    Raises:
        UsageError: the directory is no run's, or holds nothing but the unaligned model.
        BenchError: a record cannot be read, or the report cannot be written.
    """
    pictures = DEFAULT_PICTURES if figures is None else picture_formats(figures)
    drawn = read_report(directory)
    page = write_pages(drawn, out or directory / "report", pictures=pictures, titles=titles)
    if form == "json":
        print_json(drawn.report.model_dump(mode="json"))
    for section in drawn.report.sections if form != "json" else ():
        if form == "markdown":
            write_line(f"## {section.title}")
            print_sections(summary_sections(section, between=" "), form)
            write_line(*(f"- {note}" for note in (missing_line(section), *section.notes) if note), "")
            continue
        print_note(section.title, "bold")
        print_sections(summary_sections(section, between="\n"), form)
        if section.missing:
            print_note(f" {missing_line(section)}", "yellow")
        for note in section.notes:
            print_note(f" {note}")
    print_paths([page], form)
    return page
