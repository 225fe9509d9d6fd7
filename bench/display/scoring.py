"""What the commands on scorers print: `bench score` and `bench scorers validate`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from bench.core.errors import BenchError, UsageError
from bench.core.files import write_atomic, write_json
from bench.display.console import (
    LOG,
    RESULT,
    log,
    print_board,
    print_json,
    print_note,
    print_paths,
    print_sections,
    write_line,
)
from bench.leaderboard.records.layout import VALIDATIONS
from bench.leaderboard.records.validation import (
    Coverage,
    ErrorEstimate,
    Validation,
    write_validation,
)
from bench.leaderboard.render.numbers import MISSING, number
from bench.leaderboard.render.section import Section
from bench.leaderboard.render.text import section_markdown
from bench.scoring.rescore import TASK, Rescoring

if TYPE_CHECKING:
    from bench.scoring.validate import ScorerAgreement, ValidationReport

DIGITS = 3
WIDE = 134
"""From this many columns on, a value stands beside its interval and not above it, as on a board."""
DISCRIMINATION = ("scorer", "AUC", "sensitivity", "specificity", "Spearman, prompts")
BANDS = ("scorer", "published score", "prompts", "sensitivity")
COVERAGE = ("scorer", "Brier score", "calibration error", "prompts, no score", "prose, no score")
AGREEMENT = ("raters", "texts", "n", "same call", "alpha, calls", "alpha, scores")
NOTES = (
    "Toxic: prompts that Perspective scored 0.5 or more. Clean: beginnings of sentences of Wikipedia passages, as many "
    "and as long, which nobody scored. AUC, Brier score and calibration belong to this mixture of the two.",
    "Brackets: 95 % intervals. Calls: toxic or not at 0.5. Alpha: Krippendorff's, of the calls and of the scores; on "
    "the prompts alone, which all are toxic, that of the calls has little to go by and is low even where most agree.",
)


def show_rescoring(outcome: Rescoring, directory: Path) -> None:
    """Print what came of scoring a run's text again, of the board the columns of toxicity."""
    if outcome.board is not None:
        tables = [
            table.model_copy(update={"columns": tuple(c for c in table.columns if c.metric.startswith(TASK))})
            for table in outcome.board.tables
        ]
        print_board(LOG, outcome.board.model_copy(update={"tables": tuple(tables)}))
    for cell, reason in outcome.skipped.items():
        log(f"nothing to score: {cell} {reason}", "yellow")
    for cell, reason in outcome.failed.items():
        log(f"failed: {cell} {reason}", "red")
    done = f"{len(outcome.written)} scored, {len(outcome.already)} were there already"
    log(f"{done}; scores are in {directory / 'scores'}", "dim")
    write_line(str(directory / "leaderboard.md"))


def check_report_folder(folder: Path) -> None:
    """Refuse a folder that could not be written to in the end.

    Raises:
        UsageError: it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; --out takes a folder")


def show_validation(report: ValidationReport, form: str, out: Path | None) -> None:
    """Print the tables, or JSON alone for a program to read; write them to `out`, whose files' paths are printed last.

    Raises:
        BenchError: they cannot be written.
    """
    if form == "json":
        print_json(validation_json(report))
    elif form == "markdown":
        sys.stdout.write(_page(report))
    else:
        print_sections([_narrowed(section) for section in sections(report)], form)
        for note in NOTES:
            print_note(note)
    for name, reason in report.failed.items():
        log(f"not measured: {name}: {reason}", "red")
    if out is not None:
        print_paths(_write(report, out), form)


def _narrowed(section: Section) -> Section:
    """With intervals below their values where there is little room, so that none is broken in two."""
    if RESULT.width >= WIDE:
        return section
    rows = [
        (first.replace(" (", "\n("), *(cell.replace(" [", "\n[") for cell in rest)) for first, *rest in section.rows
    ]
    if section.columns == AGREEMENT:
        rows = [(raters.replace(", ", ",\n"), texts.replace(" and ", "\nand "), *rest) for raters, texts, *rest in rows]
    return replace(section, rows=tuple(rows))


def validation_json(report: ValidationReport) -> dict[str, Any]:
    """All that was found but the single scores, which `scorers/*.json` has."""
    single = {"prompt_scores", "prose_scores"}
    return {
        "reference": dict(report.reference),
        "validations": {
            validation.key: validation.model_dump(mode="json", exclude=single) for validation in report.validations
        },
        "agreements": to_jsonable_python(report.agreements),
        "unavailable": dict(report.unavailable),
        "failed": dict(report.failed),
    }


def sections(report: ValidationReport) -> Iterator[Section]:
    """The tables: each scorer against the reference, calibration, agreement, and who was not measured."""
    validations = report.validations
    if validations:
        estimates = [(item.auc, item.sensitivity, item.specificity, item.spearman) for item in validations]
        rows = [(item.scorer, *map(_cell, row)) for item, row in zip(validations, estimates, strict=True)]
        yield Section("Toxic prompts against clean prose", DISCRIMINATION, tuple(rows))
        bands = [
            (item.scorer, f"{band.low:g} to {band.high:g}", str(band.share.n), _cell(band.share))
            for item in validations
            for band in item.sensitivity_by_score
        ]
        yield Section("Sensitivity by the prompt's published score", BANDS, tuple(bands))
        yield Section("Calibration and coverage", COVERAGE, tuple(map(_coverage, validations)))
    for item in validations:
        if item.calibration:
            title = f"{item.scorer}: tenths of the texts by score"
            bins = [
                (part.n, [number(x, DIGITS) for x in (part.low, part.high, part.score, part.share)])
                for part in item.calibration
            ]
            rows = [(f"{low} to {high}", str(n), score, share) for n, (low, high, score, share) in bins]
            yield Section(title, ("scores", "texts", "mean score", "share toxic"), tuple(rows))
    if report.agreements:
        yield Section("Agreement", AGREEMENT, tuple(map(_agreement, report.agreements)))
    if report.failed or report.unavailable:
        yield Section("Not measured", ("scorer", "why"), tuple({**report.failed, **report.unavailable}.items()))


def _coverage(validation: Validation) -> tuple[str, ...]:
    error = validation.calibration_error
    return (
        validation.scorer,
        _cell(validation.brier),
        MISSING if error is None else number(error, DIGITS),
        _missing(validation.prompts),
        _missing(validation.prose),
    )


def _missing(coverage: Coverage) -> str:
    """`0`, or `3 abstained, 1 failed of 992`."""
    counts = {"abstained": coverage.abstained, "failed": coverage.unscored}
    parts = [f"{count} {name}" for name, count in counts.items() if count]
    return f"{', '.join(parts)} of {coverage.texts}" if parts else f"0 of {coverage.texts}"


def _agreement(agreement: ScorerAgreement) -> tuple[str, ...]:
    estimates = (agreement.same, agreement.nominal, agreement.interval)
    n = max((estimate.n for estimate in estimates if estimate is not None), default=0)
    return (", ".join(agreement.raters), agreement.texts, str(n), *map(_cell, estimates))


def _cell(estimate: ErrorEstimate | None) -> str:
    """`0.981 [0.975, 0.987]`."""
    if estimate is None:
        return MISSING
    value, interval = number(estimate.value, DIGITS), estimate.ci95
    return value if interval is None else f"{value} [{', '.join(number(bound, DIGITS) for bound in interval)}]"


def _page(report: ValidationReport) -> str:
    return "\n".join([section_markdown(list(sections(report))), *(f"{note}\n" for note in NOTES)])


def _write(report: ValidationReport, out: Path) -> list[Path]:
    try:
        write_json(out / "validation.json", validation_json(report))
        write_atomic(out / "validation.md", _page(report))
        validations = [write_validation(validation, out / VALIDATIONS) for validation in report.validations]
    except OSError as error:
        raise BenchError(f"cannot write to {out}: {error.strerror}; choose another folder with --out") from error
    return [out / "validation.md", out / "validation.json", *validations]
