"""A study's report as a Markdown page, with notes in plain words to read it by."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from bench.leaderboard.render.markdown import escaped
from bench.leaderboard.render.section import Section
from bench.leaderboard.render.text import section_markdown
from bench.leaderboard.study.charts import Chart
from bench.leaderboard.study.report import Drawn, StudySection
from bench.leaderboard.study.summary_tables import noise_tables, size_tables

DEFAULT_PICTURES = ("png", "svg")
IN_BROWSERS = ("png", "svg")
"""Formats that a page can show, the first one rather."""
MOST_NAMED = 30
"""Missing cells that are named one by one."""

READING = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
"""How to read each kind of picture, and the tables."""


def summary_sections(section: StudySection, *, between: str) -> list[Section]:
    """The tables of one section; see `bench.leaderboard.study.summary_tables`."""
    return [
        *noise_tables(section.noise_curves, section.metrics, between=between),
        *size_tables(section.size_curves, section.metrics, between=between),
    ]


def report_page(drawn: Drawn, pictures: Sequence[str] = DEFAULT_PICTURES) -> str:
    """The whole page; pictures are beside it. The same records give the same bytes.

    Arguments:
        pictures: their formats, e.g. "png".
    """
    parts = ["# Study report", f"From {drawn.report.n_records} records. Arrows point to the better side."]
    for section in drawn.report.sections:
        parts += _section(section, drawn.charts, pictures)
    return "\n\n".join(parts) + "\n"


def missing_line(section: StudySection) -> str:
    """The cells that are missing, by name; nothing where none is."""
    if not section.missing:
        return ""
    more = len(section.missing) - MOST_NAMED
    rest = f"; and {more} more" if more > 0 else ""
    cells = "cell is" if len(section.missing) == 1 else "cells are"
    return f"{len(section.missing)} {cells} missing: {'; '.join(section.missing[:MOST_NAMED])}{rest}"


def _section(section: StudySection, charts: Mapping[str, Chart], pictures: Sequence[str]) -> Iterator[str]:
    yield f"## {escaped(section.title)}"
    if section.missing:
        yield f"**{escaped(missing_line(section))}.** What follows is of the cells there are."
    for stem in section.pictures:
        chart = charts[stem]
        yield f"### {escaped(chart.title)}"
        seen = next((form for form in IN_BROWSERS if form in pictures), None)
        if seen is not None:
            yield f"![{escaped(chart.title)}]({stem}.{seen})"
        files = [f"[Numbers]({stem}.csv)", *(f"[{form.upper()}]({stem}.{form})" for form in pictures if form != seen)]
        yield f"{READING['captions'][chart.kind]} {', '.join(files)}."
    for reading, tables in (
        (READING["noise_tables"], noise_tables(section.noise_curves, section.metrics, between=" ")),
        (READING["size_tables"], size_tables(section.size_curves, section.metrics, between=" ")),
    ):
        if tables:
            yield section_markdown(tables).rstrip()
            yield reading
    if section.notes:
        yield "### Notes"
        yield "\n".join(f"- {escaped(note)}" for note in section.notes)
