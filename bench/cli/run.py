"""Commands that run and plan cells, show how they stand, and print boards: parse, call, print."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import (
    ENVIRONMENT,
    Amend,
    Config,
    DryRun,
    Execution,
    Grid,
    Listing,
    Measurement,
    Notes,
    PrintFormat,
    Target,
    common_flags,
    given,
    grouped,
    option,
    parsed,
)
from bench.core.errors import UsageError

if TYPE_CHECKING:
    from bench.spec.study import Study


@grouped
def run_command(
    *,
    target: Target = None,
    config: Config = None,
    amend: Amend = None,
    grid: Grid,
    measurement: Measurement,
    execution: Execution,
    dry_run: DryRun = False,
    notes: Notes = False,
) -> None:
    """Align, measure, and build the leaderboard. Finished cells are never run again."""
    study = _read_study(_named(target, config), amend, grid, measurement, execution)
    if dry_run:
        _plan(study, cell_by_cell=True)
    else:
        _run(study, notes=notes)


@grouped
def study(
    *,
    target: Target = None,
    config: Config = None,
    amend: Amend = None,
    grid: Grid,
    measurement: Measurement,
    execution: Execution,
    dry_run: DryRun = False,
    notes: Notes = False,
) -> None:
    """Run a grid of methods, models, noise models, rates, sizes and seeds; processes may share one directory."""
    study = _read_study(_named(target, config), amend, grid, measurement, execution)
    if dry_run:
        _plan(study, cell_by_cell=False)
    else:
        _run(study, notes=notes)


@grouped
def plan(
    *,
    target: Target = None,
    config: Config = None,
    amend: Amend = None,
    grid: Grid,
    measurement: Measurement,
    execution: Execution,
) -> None:
    """Say what a study or run would do, take and be able to tell; nothing is done or downloaded."""
    _plan(_read_study(_named(target, config), amend, grid, measurement, execution), cell_by_cell=False)


def status(
    directory: Annotated[Path, typer.Argument(help="The directory of a run or study.")],
    watch: Annotated[float | None, option("Look again every so many seconds until it is done.", min=0.2)] = None,
) -> None:
    """Show how a run stands, from any terminal: cells, who is at work on them, failures, time left."""
    from bench.display.run import show_status

    show_status(directory, watch)


def list_(what: Annotated[Listing, typer.Argument(help="What to list.")]) -> None:
    """List what can be named, and what each is."""
    from bench.display.listing import show_listing

    show_listing(what)


def leaderboard(
    directory: Annotated[Path, typer.Argument(help="A run's directory.")],
    format: PrintFormat = "table",
    notes: Notes = False,
) -> None:
    """Print the board of finished cells, made anew from the records."""
    from bench.display.run import show_leaderboard

    show_leaderboard(directory, format, notes=notes)


def schema() -> None:
    """Print the JSON Schema of a record."""
    from bench.display.listing import show_schema

    show_schema()


def _run(study: Study, *, notes: bool) -> None:
    from bench.display.console import log, progress_display
    from bench.display.run import show_outcome
    from bench.harness.run import run_study
    from bench.spec.summary import describe_study

    for line in describe_study(study):
        log(line, "dim")
    with progress_display() as progress:
        outcome = run_study(study, progress=progress)
    show_outcome(outcome, study.out, notes=notes)
    if outcome.failed:
        raise typer.Exit(1)


def _plan(study: Study, *, cell_by_cell: bool) -> None:
    from bench.display.run import show_plan
    from bench.harness.plan import plan_study
    from bench.spec.summary import describe_study

    show_plan(plan_study(study), describe_study(study), study.out, cell_by_cell=cell_by_cell)


def _named(target: str | None, config: str | None) -> str | None:
    """The configuration that a command line names; the one that the environment names gives way to a typed one.

    Raises:
        UsageError: it names two.
    """
    if target is not None and config not in (None, target, os.environ.get(f"{ENVIRONMENT}CONFIG")):
        raise UsageError(f"{target} and --config {config} are two configurations; give one of them")
    return target or config


def _read_study(
    target: str | None, amendments: Sequence[str] | None, grid: Grid, measurement: Measurement, execution: Execution
) -> Study:
    """What a command line asks for; notes on how it was read are printed."""
    from bench.display.console import log
    from bench.spec.overrides import parse_seeds, split_list
    from bench.spec.study import parse_rates, parse_sizes, read_study

    flags = common_flags(grid.model, execution.device, execution.dtype, execution.batch_size)
    flags += given(
        {
            ("noise", "rates"): parsed(grid.noise, "--noise", parse_rates),
            ("noise", "clean_twin"): False if grid.no_clean_twin else None,
            ("pairs", "sizes"): parsed(grid.pairs, "--pairs", parse_sizes),
            ("seeds",): parsed(grid.seeds, "--seeds", parse_seeds),
            ("out",): execution.out and str(execution.out),
            ("apply_chat_template",): measurement.apply_chat_template or None,
            ("tasks", "toxicity", "protocol"): measurement.protocol,
            ("tasks", "capability", "num_fewshot"): measurement.num_fewshot,
            ("tasks", "capability", "apply_chat_template"): measurement.apply_chat_template or None,
            ("tasks", "capability", "include_path"): [str(path) for path in measurement.include_path or ()] or None,
        }
    )
    request = read_study(
        target,
        methods=parsed(grid.methods, "--methods", split_list),
        tasks=parsed(grid.tasks, "--tasks", split_list),
        flags=flags,
        limit=grid.limit,
        scorer=measurement.scorer,
        assignments=execution.assignments or (),
        amendments=amendments or (),
    )
    for note in request.notes:
        log(note)
    return request.study
