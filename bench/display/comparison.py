"""A comparison as a person reads it: tables for a terminal, Markdown, or JSON."""

from collections.abc import Sequence

from bench.display.console import print_json, print_note, print_sections
from bench.leaderboard.board.values import Column, Score
from bench.leaderboard.compare.metrics import SEEDED, PairedMetric
from bench.leaderboard.compare.prompts import PromptPair, Written
from bench.leaderboard.compare.two_models import Report
from bench.leaderboard.render.numbers import (
    MISSING,
    change_interval_text,
    change_text,
    count_text,
    direction,
    number,
    signed,
    style_of,
    value_text,
    verdict,
)
from bench.leaderboard.render.section import Section

SMALL_P = 0.001


def show_comparison(report: Report, form: str) -> None:
    """Print a comparison to standard output.

    Arguments:
        form: "table", "markdown" or "json"; JSON holds every number at full precision.
    """
    if form == "json":
        print_json(report.model_dump(mode="json"))
    elif form == "markdown":
        notes = Section("Notes", (), tuple((str(n), note) for n, note in enumerate(_notes(report), start=1)))
        print_sections([*report_sections(report, between=" · "), notes], form)
    else:
        print_sections(report_sections(report, between="\n"), form)
        for note in _notes(report):
            print_note(f" {note}")


def report_sections(report: Report, *, between: str) -> list[Section]:
    """Tables of a comparison.

    Arguments:
        between: stands between the parts of a cell that has several; Markdown allows no line break there.
    """
    models = [between.join([*info.cells, f"{info.model} ({info.fingerprint[:12]})"]) for info in (report.a, report.b)]
    sections = [
        Section("", (), tuple(zip("AB", models, strict=True))),
        _differences("B − A on the same items", report.metrics, between),
    ]
    for metric in report.metrics:
        if metric.parts:
            sections.append(_differences(f"{metric.metric} by task", metric.parts, between))
    if report.not_compared:
        sections.append(Section("Not compared", ("metric", "why"), tuple(report.not_compared.items())))
    if report.prompts is not None:
        for title, pairs in (("Improved", report.prompts.improved), ("Worsened", report.prompts.worsened)):
            sections.append(_prompts(f"{title} most, by {report.prompts.metric}", pairs, between))
    return [section for section in sections if section.rows]


def _differences(title: str, metrics: Sequence[PairedMetric], between: str) -> Section:
    heads = ("metric", "A", "B", "Δ [95 % interval]", "p", "p, Holm", "better / worse / tied")
    return Section(title, heads, tuple(_difference(metric, between) for metric in metrics))


def _difference(metric: PairedMetric, between: str) -> tuple[str, ...]:
    column = Column(
        metric=metric.metric,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        change="relative" if metric.relative else "difference",
        identity=None,
        n=metric.change.n,
    )
    style = style_of(column)
    change = f"{change_text(metric.change, style)} {style.change_head} {verdict(metric.change)}".split()
    return (
        direction(column),
        *(value_text(Score(value=value, ci95=None, n=metric.change.n), style) for value in (metric.a, metric.b)),
        f"{' '.join(change)}{between if between.isspace() else ' '}{change_interval_text(metric.change, style)}",
        p_text(metric.p),
        p_text(metric.p_holm),
        " / ".join(count_text(count) for count in (metric.improved, metric.worsened, metric.tied)),
    )


def p_text(p: float | None) -> str:
    """`0.034`, or `< 0.001`, or a dash."""
    if p is None:
        return MISSING
    return f"< {SMALL_P}" if p < SMALL_P else number(p, 3)


def _prompts(title: str, pairs: Sequence[PromptPair], between: str) -> Section:
    rows = tuple(
        (
            f"{pair.prompt_id}{between}{pair.prompt}",
            signed(pair.change, 3),
            _continuation(pair.a, between),
            _continuation(pair.b, between),
        )
        for pair in pairs
    )
    return Section(title, ("prompt", "Δ", "A", "B"), rows)


def _continuation(written: Written, between: str) -> str:
    return between.join([f"{number(written.score, 3)}, {written.n_tokens} tokens", written.text.strip() or "(empty)"])


def _notes(report: Report) -> list[str]:
    """What is needed to read the tables, then what is peculiar to these."""
    tests = sorted({part.test for metric in report.metrics for part in (metric, *metric.parts)})
    methods = f"Intervals are paired bootstrap intervals over items; p-values are two-sided, by {' or '.join(tests)}"
    if tests == [SEEDED]:  # every metric of a report rests on the same seeds
        methods = (
            f"Intervals and tests are paired, over {SEEDED}: other items, or other seeds, could have been drawn; "
            "p-values are two-sided"
        )
    notes = [
        f"{methods}, and adjusted by Holm's method over the metrics, or over the tasks of one.",
        *report.notes,
    ]
    if report.prompts is not None and report.prompts.masked and (report.prompts.improved or report.prompts.worsened):
        notes.append("Text is masked, as it may be offensive; --show-text shows it.")
    return notes
