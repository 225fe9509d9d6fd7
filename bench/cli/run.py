"""Commands that run and plan cells, show how they stand, and print boards: parse, call, print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.options import (
    BoardFormat,
    Config,
    Execution,
    Grid,
    Listing,
    Measurement,
    Notes,
    Parser,
    RunGrid,
    T,
    common_flags,
    given,
    grouped,
    option,
    parsed,
)

if TYPE_CHECKING:
    from bench.spec.study import Study

Target = Annotated[str | None, typer.Argument(help="Study file, shipped name, or a study's directory.")]
Amend = Annotated[
    list[str] | None,
    option(
        "Add to what a study had when it last ran, and run what is new: seeds=5 (means 0 to 4), seeds=0,7, "
        "rates=0.6, sizes=20,all, methods=cdpo, noise=replace. Repeatable."
    ),
]


@grouped
def run_command(
    *,
    config: Config = None,
    grid: RunGrid,
    measurement: Measurement,
    execution: Execution,
    dry_run: Annotated[bool, option("Say what would be done and downloaded; do nothing.", "--dry-run")] = False,
    notes: Notes = False,
) -> None:
    """Align, measure, and build the leaderboard. Finished cells are never run again."""
    from bench.spec.overrides import split_integers, split_numbers
    from bench.spec.resolve import resolve_spec
    from bench.spec.study import Study

    settings = _settings(grid, execution, rates=split_numbers, sizes=split_integers, seeds=split_integers)
    settings["flags"] += given(
        {
            ("tasks", "toxicity", "protocol"): measurement.protocol,
            ("tasks", "capability", "num_fewshot"): measurement.num_fewshot,
            ("apply_chat_template",): measurement.apply_chat_template or None,
            ("tasks", "capability", "apply_chat_template"): measurement.apply_chat_template or None,
            ("tasks", "capability", "include_path"): [str(path) for path in measurement.include_path or ()] or None,
        }
    )
    study = Study.of_run(resolve_spec(config, scorer=measurement.scorer, **settings))
    if dry_run:
        _plan(study, cell_by_cell=True)
    else:
        _run(study, notes=notes)


@grouped
def study(
    *,
    target: Annotated[str, typer.Argument(help="Study file, shipped name, or a study's directory.")],
    amend: Amend = None,
    grid: Grid,
    execution: Execution,
    notes: Notes = False,
) -> None:
    """Run a grid of methods, models, noise models, rates, sizes and seeds; processes may share one directory."""
    _run(_read_study(target, amend, grid, execution), notes=notes)


@grouped
def plan(*, target: Target = None, amend: Amend = None, grid: Grid, execution: Execution) -> None:
    """Say what a study or run would do, take and be able to tell; nothing is done or downloaded."""
    _plan(_read_study(target, amend, grid, execution), cell_by_cell=False)


def status(
    directory: Annotated[Path, typer.Argument(help="The directory of a run or study.")],
    watch: Annotated[float | None, option("Look again every so many seconds until it is done.", min=0.2)] = None,
) -> None:
    """Show how a run stands, from any terminal: cells, who is at work on them, failures, time left."""
    from bench.display.run import show_status

    show_status(directory, watch)


def list_(what: Annotated[Listing, typer.Argument(help="What to list.")]) -> None:
    """List what can be named: methods, tasks, scorers, models, configs."""
    from bench.display.listing import show_listing

    show_listing(what)


def leaderboard(
    directory: Annotated[Path, typer.Argument(help="A run's directory.")],
    format: Annotated[BoardFormat, option("How to print it.", "--format", "-f")] = "table",
    notes: Notes = False,
    where: Annotated[
        list[str] | None, option("Only rows that fit, e.g. method=dpo,noise=0.3 or rank=2. Repeatable.", "--where")
    ] = None,
    metric: Annotated[
        list[str] | None, option("Only this metric; the first one leads. Repeatable.", "--metric")
    ] = None,
    columns: Annotated[
        str | None, option("Columns, e.g. toxicity,capability,retained,pairs,seeds,memory,time.", "--columns")
    ] = None,
    sort: Annotated[str | None, option("By a metric, best first, or method, noise, pairs, time; -time turns.")] = None,
    group_by: Annotated[str | None, option("Rows that agree stand together: method, noise, pairs, seeds.")] = None,
) -> None:
    """Print the board of finished cells, made anew from the records."""
    from bench.display.run import show_leaderboard
    from bench.leaderboard.board.view import View, parse_where

    view = View(
        where=parse_where(where or ()),
        metrics=tuple(metric or ()),
        columns=tuple(filter(None, map(str.strip, (columns or "").split(",")))),
        sort=sort,
        group_by=group_by,
    )
    show_leaderboard(directory, format, notes=notes, view=view)


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


def _read_study(target: str | None, amendments: Sequence[str] | None, grid: Grid, execution: Execution) -> Study:
    """The study that a command line asks for; notes on how it was read are printed."""
    from bench.display.console import log
    from bench.spec.overrides import split_integers, split_numbers
    from bench.spec.study import distinct_parts, parse_sizes, read_study

    def merged(parse: Parser[T]) -> Parser[T]:
        """A study takes each value once, however often it is given; a run refuses repeats."""
        return lambda text, flag: parse(",".join(distinct_parts(text)), flag)

    settings = _settings(grid, execution, rates=merged(split_numbers), sizes=parse_sizes, seeds=merged(split_integers))
    request = read_study(target, amendments=amendments or (), **settings)
    for note in request.notes:
        log(note)
    return request.study


def _settings(
    grid: Grid, execution: Execution, *, rates: Parser[Any], sizes: Parser[Any], seeds: Parser[Any]
) -> dict[str, Any]:
    """What runs and studies are both made from, as arguments of `resolve_spec` and `read_study`."""
    from bench.spec.overrides import split_list

    flags = common_flags(grid.model, execution.device, execution.dtype, execution.batch_size)
    flags += given(
        {
            ("noise", "rates"): parsed(grid.noise, "--noise", rates),
            ("noise", "clean_twin"): False if grid.no_clean_twin else None,
            ("pairs", "sizes"): parsed(grid.pairs, "--pairs", sizes),
            ("seeds",): parsed(grid.seeds, "--seeds", seeds),
            ("out",): execution.out and str(execution.out),
        }
    )
    return {
        "methods": parsed(grid.methods, "--methods", split_list),
        "tasks": parsed(grid.tasks, "--tasks", split_list),
        "flags": flags,
        "limit": grid.limit,
        "assignments": execution.assignments or (),
    }
