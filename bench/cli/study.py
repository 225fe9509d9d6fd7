"""Verbs on studies: run a grid of cells, plan it, and see how it stands. Parse, call, print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.options import ENVIRONMENT, Batch, Device, Dtype, Model, Set, common_flags

if TYPE_CHECKING:
    from bench.spec.study import Study

Target = Annotated[str | None, typer.Argument(help="Study file, shipped name, or a study's directory.")]
Methods = Annotated[str | None, typer.Option(help="Only these methods.", envvar=f"{ENVIRONMENT}METHODS")]
Noise = Annotated[str | None, typer.Option(help="Noise rates, e.g. 0,0.1,0.3.", envvar=f"{ENVIRONMENT}NOISE")]
Pairs = Annotated[str | None, typer.Option(help="Training pairs, e.g. 20,50,all.", envvar=f"{ENVIRONMENT}PAIRS")]
Seeds = Annotated[str | None, typer.Option(help="Seeds, e.g. 0,1,2.", envvar=f"{ENVIRONMENT}SEEDS")]
Tasks = Annotated[str | None, typer.Option(help="Only these measurements.", envvar=f"{ENVIRONMENT}TASKS")]
Limit = Annotated[int | None, typer.Option(min=1, help="Items a task measures.", envvar=f"{ENVIRONMENT}LIMIT")]
Out = Annotated[Path | None, typer.Option(help="Directory for records and leaderboard.", envvar=f"{ENVIRONMENT}OUT")]
Amend = Annotated[
    list[str] | None,
    typer.Option(
        help="Add to what a study had when it last ran, and run what is new: seeds=5 (means 0 to 4), seeds=0,7, "
        "rates=0.6, sizes=20,all, methods=cdpo, noise=replace. Repeatable."
    ),
]


def study(
    target: Annotated[str, typer.Argument(help="Study file, shipped name, or a study's directory.")],
    amend: Amend = None,
    model: Model = None,
    methods: Methods = None,
    noise: Noise = None,
    pairs: Pairs = None,
    seeds: Seeds = None,
    tasks: Tasks = None,
    limit: Limit = None,
    device: Device = None,
    dtype: Dtype = None,
    batch_size: Batch = None,
    out: Out = None,
    assignments: Set = None,
) -> None:
    """Run a grid of methods, models, noise models, rates, sizes and seeds; processes may share one directory."""
    flags = [*common_flags(model, device, dtype, batch_size), *_grid_flags(noise, pairs, seeds, out)]
    asked = _read(target, methods, tasks, flags, limit, assignments, amend)
    from bench.display.console import progress_display, show_outcome
    from bench.harness.run import run_study

    with progress_display() as progress:
        outcome = run_study(asked, progress=progress)
    show_outcome(outcome, asked.spec)
    if outcome.failed:
        raise typer.Exit(1)


def plan(
    target: Target = None,
    amend: Amend = None,
    model: Model = None,
    methods: Methods = None,
    noise: Noise = None,
    pairs: Pairs = None,
    seeds: Seeds = None,
    tasks: Tasks = None,
    limit: Limit = None,
    device: Device = None,
    dtype: Dtype = None,
    batch_size: Batch = None,
    out: Out = None,
    assignments: Set = None,
) -> None:
    """Say what a study or run would do, take and be able to tell; nothing is done or downloaded."""
    flags = [*common_flags(model, device, dtype, batch_size), *_grid_flags(noise, pairs, seeds, out)]
    asked = _read(target, methods, tasks, flags, limit, assignments, amend)
    from bench.display.run import show_study_plan
    from bench.harness.plan import plan_study

    show_study_plan(plan_study(asked), asked)


def status(
    directory: Annotated[Path, typer.Argument(help="The directory of a run or study.")],
    watch: Annotated[
        float | None, typer.Option(min=0.2, help="Look again every so many seconds until it is done.")
    ] = None,
) -> None:
    """Show how a run stands, from any terminal: cells, who is at work on them, failures, time left."""
    from bench.display.run import show_status

    show_status(directory, watch)


def _grid_flags(
    noise: str | None, pairs: str | None, seeds: str | None, out: Path | None
) -> list[tuple[list[str], Any]]:
    """The places in a study that these flags stand for, and what was given for them, each value once."""
    from bench.spec.overrides import split_integers, split_numbers
    from bench.spec.study import distinct_parts, parse_sizes

    flags: list[tuple[list[str], Any]] = []
    if noise is not None:
        flags.append((["noise", "rates"], split_numbers(",".join(distinct_parts(noise)), "--noise")))
    if pairs is not None:
        flags.append((["pairs", "sizes"], parse_sizes(pairs, "--pairs")))
    if seeds is not None:
        flags.append((["seeds"], split_integers(",".join(distinct_parts(seeds)), "--seeds")))
    if out is not None:
        flags.append((["out"], str(out)))
    return flags


def _read(
    target: str | None,
    methods: str | None,
    tasks: str | None,
    flags: Sequence[tuple[list[str], Any]],
    limit: int | None,
    assignments: Sequence[str] | None,
    amendments: Sequence[str] | None,
) -> Study:
    """The study that a command line asks for; what there is to say of it is said."""
    from bench.display.console import LOG
    from bench.spec.overrides import split_list
    from bench.spec.study import read_study

    asked = read_study(
        target,
        methods=split_list(methods, "--methods") if methods is not None else None,
        tasks=split_list(tasks, "--tasks") if tasks is not None else None,
        flags=flags,
        limit=limit,
        assignments=assignments or (),
        amendments=amendments or (),
    )
    for note in asked.notes:
        LOG.print(note, markup=False, highlight=False)
    return asked.study
