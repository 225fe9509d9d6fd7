"""What the records of a study say of noise and numbers of pairs: curves, what they come to, and what is missing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from bench.core.values import BASE, Value
from bench.leaderboard.board.build import evaluation_groups, group_distinctions, make_leaderboard
from bench.leaderboard.board.values import Column
from bench.leaderboard.records.labels import joined
from bench.leaderboard.records.perplexity_rise import DEFAULT, PerplexityRise, parse_rise
from bench.leaderboard.records.record import Record
from bench.leaderboard.statistics.seeds import note_on_seeds
from bench.leaderboard.study.cells import CurvePoint, Point, StudyCells, cell_text, rate_label, study_cells
from bench.leaderboard.study.charts import Chart, make_charts, slug
from bench.leaderboard.study.fronts import front_charts
from bench.leaderboard.study.summaries import NoiseSummary, SizeSummary, noise_summaries, size_summaries
from bench.leaderboard.study.versus import versus_charts
from bench.methods.labels import method_label


class MissingCell(Value):
    """A cell that a study has and no record is of."""

    model: str
    """Locator of the weights."""
    method: str
    noise: str
    rate: float
    n_pairs: int
    """0 for the unaligned model."""
    seed: int
    failure: str | None = None
    """Why it failed when it was last tried; None where it did not."""

    @property
    def text(self) -> str:
        """`dpo, flip 30 %, 164 pairs, seed 2 (failed: no space left)`."""
        cell = CurvePoint(self.method, self.noise if self.rate else None, self.rate, self.n_pairs)
        text = BASE if self.method == BASE else cell_text(cell, self.seed)
        return f"{text} (failed: {self.failure})" if self.failure else text


class PlacedPoint(Value):
    """One metric at one point."""

    method: str
    noise: str | None
    """None at rate 0."""
    rate: float
    n_pairs: int
    metric: str
    point: Point


class StudySection(Value):
    """Comparable cells of one model."""

    title: str
    metrics: Mapping[str, Column]
    base: Mapping[str, Point]
    """The unaligned model's values, by metric."""
    points: tuple[PlacedPoint, ...]
    noise_curves: tuple[NoiseSummary, ...]
    size_curves: tuple[SizeSummary, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    pictures: tuple[str, ...]
    """Stems of the files, in order."""


class StudyReport(Value):
    """All that a set of records says of noise and size."""

    schema_version: Literal[1] = 1
    n_records: int
    sections: tuple[StudySection, ...]


class Drawn(NamedTuple):
    """A report and the pictures that go with it."""

    report: StudyReport
    charts: Mapping[str, Chart]
    """By stem."""


def make_report(
    records: Sequence[Record],
    missing: Sequence[MissingCell] | None = None,
    rise: PerplexityRise = parse_rise(DEFAULT),  # noqa: B008
) -> Drawn:
    """Report on all records, a section for each set of comparable ones that holds an aligned model.

    Arguments:
        records: of one directory; the same ones, in whatever order, give the same report.
        missing: cells that the study has and no record is of; None where nobody knows, which takes the study for every
            combination of what the records are of.
        rise: the most by which an operating point may raise perplexity.
    """
    tables = make_leaderboard(records, rise=rise).tables  # of the same groups, in the same order
    groups = [g for g in evaluation_groups(records) if any(record.method.name != BASE for record in g)]
    titles, prefixes = _titles(groups), _prefixes(groups)
    sections: list[StudySection] = []
    charts: dict[str, Chart] = {}
    named: set[str] = set()
    of_groups = [table for table in tables if table.has_aligned]
    for group, title, prefix, table in zip(groups, titles, prefixes, of_groups, strict=True):
        study = study_cells(group)
        made = [*make_charts(study), *versus_charts(table, study.methods), *front_charts(table)]
        drawn = [replace(chart, stem=f"{prefix}{chart.stem}") for chart in made]
        charts |= {chart.stem: chart for chart in drawn}
        locator = group[-1].model.locator
        of_model = [cell for cell in missing or () if cell.model == locator and locator not in named]
        named.add(locator)
        absent = [cell.text for cell in of_model]
        if missing is None:
            absent = [cell_text(cell, seed) for cell, seed in study.gaps()]
        sections.append(_section(title, study, absent, [chart.stem for chart in drawn]))
    return Drawn(StudyReport(n_records=len(records), sections=tuple(sections)), charts)


def _section(title: str, study: StudyCells, missing: Sequence[str], pictures: Sequence[str]) -> StudySection:
    noise, sizes = noise_summaries(study), size_summaries(study)
    return StudySection(
        title=title,
        metrics=study.columns,
        base=study.base_points,
        points=tuple(
            PlacedPoint(**cell._asdict(), metric=metric, point=point) for (cell, metric), point in study.points.items()
        ),
        noise_curves=tuple(noise),
        size_curves=tuple(sizes),
        missing=tuple(missing),
        notes=tuple(dict.fromkeys(_notes(study, [*noise, *sizes]))),
        pictures=tuple(pictures),
    )


def _notes(study: StudyCells, summaries: Sequence[NoiseSummary | SizeSummary]) -> Iterator[str]:
    """What a reader has to know of this study before its numbers."""
    if not study.base:
        yield "The unaligned model was not measured: nothing is compared with it, and no curve can be summed up."
    if not study.noise_facets():
        yield f"No curve over noise: {_only([rate_label(rate) for rate in study.rates], 'noise rate')}."
    if not study.size_facets():
        yield f"No curve over numbers of pairs: {_only(study.sizes, 'number of pairs')}."
    counts = sorted({len(by_seed) for by_seed in study.cells.values()})
    if note := note_on_seeds(counts[0]):
        where = "" if len(counts) == 1 else f" (some cells have {counts[0]}, others up to {counts[-1]})"
        yield f"Seeds{where}: {note}."
    if len(study.seeds) == 1:
        yield "No seed strips: there is one seed."
    for (cell, metric), point in study.points.items():
        if point.degenerate:
            yield f"{cell_text(cell)}: {metric} is out of the running ({', '.join(point.degenerate)})."
        if point.note:
            yield f"{cell_text(cell)}: {metric}: {point.note}."
    yield from _reasons(summaries)


def _only(values: Sequence[str | int], name: str) -> str:
    if len(values) == 1:
        return f"every cell has the same {name}, {values[0]}"
    return f"no method has more than one {name} under the same settings"


def _reasons(summaries: Sequence[NoiseSummary | SizeSummary]) -> Iterator[str]:
    """Why curves have no numbers, and what these leave out, each once with the curves that it is said of."""
    curves_by_note: dict[str, dict[str, dict[str, None]]] = {}
    for summary in summaries:
        notes = [summary.reason, summary.note if summary.note != note_on_seeds(len(summary.seeds)) else None]
        for note in notes:
            if note is not None:
                curves_by_note.setdefault(note, {}).setdefault(summary.metric, {})[method_label(summary.method)] = None
    for note, curves in curves_by_note.items():
        of = "; ".join(" of ".join((metric, ", ".join(methods))) for metric, methods in curves.items())
        yield f"{of}: {note}."


def _titles(groups: Sequence[Sequence[Record]]) -> list[str]:
    """Each group's model, with what tells it from others of that model."""
    return [
        " · ".join(part for part in (group[-1].model.locator, joined(distinction)) if part)
        for group, distinction in zip(groups, group_distinctions(groups), strict=True)
    ]


def _prefixes(groups: Sequence[Sequence[Record]]) -> list[str]:
    """What keeps the files of several sections apart; nothing where there is one."""
    if len(groups) == 1:
        return [""]
    names = [slug(group[-1].model.locator.rpartition("/")[2]) for group in groups]
    return [
        f"{name}-" if names.count(name) == 1 else f"{name}-{names[: index + 1].count(name)}-"
        for index, name in enumerate(names)
    ]
