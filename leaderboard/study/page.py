"""A study's report as a Markdown page, with notes in plain words to read it by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench.leaderboard.render.markdown import escaped
from bench.leaderboard.render.section import Section
from bench.leaderboard.render.text import section_markdown as sections_to_markdown
from bench.leaderboard.study.charts import Chart, Kind
from bench.leaderboard.study.report import Drawn, StudySection
from bench.leaderboard.study.summary_tables import noise_tables, size_tables

MOST_NAMED = 30
"""Missing cells that are named one by one."""

CAPTIONS: Mapping[Kind, str] = {
    "values": "What each method's models measured, with base as a dashed line. Bands are 95 % intervals over items, "
    "and over seeds where there are several; dots are single seeds. All cells are measured on the same items, so that "
    "bands overlap even where methods differ: judge differences by the changes below.",
    "changes": "The same as changes against base, item by item: below the dashed line is less. A band that does not "
    "touch it shows a change. These intervals are the narrower ones, as what makes an item easy or hard cancels.",
    "tradeoff": "Toxicity against perplexity and capability, paler the more noise; thin lines follow a method from no "
    "noise to most. Rings mark the Pareto front: no other point is better in both. It goes by estimates alone, so "
    "that points whose intervals (thin crosses) overlap may well change places.",
    "seeds": "Every seed's own value, with a bar at the mean. The wider a row, the more rests on which pairs were "
    "drawn and which were corrupted.",
    "why": "Angles: how far the subspace that the edit removes has turned from the one without noise, as the largest "
    "principal angle, averaged over layers; the band goes from the least to the most turned layer. 0° is the same "
    "subspace, 90° has nothing to do with it. Reward accuracy: the share of clean held-out pairs whose chosen text "
    "gained more than the rejected one; 50 % is a coin toss. Its band is Wilson's 95 % interval for that many pairs, "
    "which are the same for all seeds.",
}

READING_NOISE = """\
- **Δ without noise:** change against base at rate 0; all else is relative to its gain.
- **area:** mean gain over the rates, relative to that without noise: 1 where noise does nothing, 0 where it takes all.
- **slope:** gain lost (−) or won (+) from rate 0 to the next, per unit of rate: −2 loses all by a rate of 50 %.
- **ε₅₀:** the rate at which half of the gain is lost; `> 50 %` means not by the highest rate, 50 %.
- **breakdown:** the smallest rate from which on the gain cannot be told from none (Holm over the curve's rates).
- Brackets are 95 % intervals. A dash: there is no gain to lose, or it cannot be told from none; the notes say which."""

READING_SIZES = """\
- **n₉₀:** pairs for 90 % of the gain with the most pairs; `≤` where the smallest size has that already.
- Brackets are 95 % intervals. A dash: the gain with the most pairs cannot be told from none."""


def summary_sections(section: StudySection, *, between: str) -> list[Section]:
    """The tables of one section; see `bench.leaderboard.study.summary_tables`."""
    return [
        *noise_tables(section.noise_curves, section.metrics, between=between),
        *size_tables(section.size_curves, section.metrics, between=between),
    ]


def report_page(drawn: Drawn) -> str:
    """The whole page; pictures are beside it. The same records give the same bytes."""
    parts = ["# Study report", f"From {drawn.report.n_records} records. Arrows point to the better side."]
    for section in drawn.report.sections:
        parts += _section(section, drawn.charts)
    return "\n\n".join(parts) + "\n"


def missing_line(section: StudySection) -> str:
    """The cells that are missing, by name; nothing where none is."""
    if not section.missing:
        return ""
    more = len(section.missing) - MOST_NAMED
    rest = f"; and {more} more" if more > 0 else ""
    cells = "cell is" if len(section.missing) == 1 else "cells are"
    return f"{len(section.missing)} {cells} missing: {'; '.join(section.missing[:MOST_NAMED])}{rest}"


def _section(section: StudySection, charts: Mapping[str, Chart]) -> Iterator[str]:
    yield f"## {escaped(section.title)}"
    if section.missing:
        yield f"**{escaped(missing_line(section))}.** What follows is of the cells there are."
    for stem in section.pictures:
        yield from _picture(charts[stem])
    for reading, tables in (
        (READING_NOISE, noise_tables(section.noise_curves, section.metrics, between=" ")),
        (READING_SIZES, size_tables(section.size_curves, section.metrics, between=" ")),
    ):
        if tables:
            yield sections_to_markdown(tables).rstrip()
            yield reading
    if section.notes:
        yield "### Notes"
        yield "\n".join(f"- {escaped(note)}" for note in section.notes)


def _picture(chart: Chart) -> Iterator[str]:
    yield f"### {escaped(chart.title)}"
    yield f"![{escaped(chart.title)}]({chart.stem}.png)"
    yield f"{CAPTIONS[chart.kind]} [Numbers]({chart.stem}.csv), [SVG]({chart.stem}.svg)."
