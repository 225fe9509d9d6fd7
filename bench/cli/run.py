"""Verbs that run cells and print boards: parse, call, print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.options import (
    ENVIRONMENT,
    Batch,
    Config,
    Device,
    Dtype,
    Format,
    Listing,
    Model,
    Set,
    common_flags,
    task_flags,
)

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


def run_command(
    config: Config = None,
    model: Model = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Which methods, e.g. profs,dpo. base is always there.", envvar=f"{ENVIRONMENT}METHODS"),
    ] = None,
    noise: Annotated[
        str | None, typer.Option(help="Share of pairs corrupted, 0 to 1; several: 0,0.3.", envvar=f"{ENVIRONMENT}NOISE")
    ] = None,
    pairs: Annotated[
        str | None, typer.Option(help="Training pairs; several: 50,100,200.", envvar=f"{ENVIRONMENT}PAIRS")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds, e.g. 0,1,2.", envvar=f"{ENVIRONMENT}SEEDS")] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="What to measure, e.g. toxicity,perplexity,capability.", envvar=f"{ENVIRONMENT}TASKS"),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Items a task measures: prompts, documents.", envvar=f"{ENVIRONMENT}LIMIT")
    ] = None,
    scorer: Annotated[
        str | None, typer.Option(help="Who judges toxicity: see `bench list scorers`.", envvar=f"{ENVIRONMENT}SCORER")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="How toxicity is measured: greedy, profs2025, lee2024, rtp.", envvar=f"{ENVIRONMENT}PROTOCOL"
        ),
    ] = None,
    num_fewshot: Annotated[int | None, typer.Option(min=0, help="Solved examples before each capability task.")] = None,
    apply_chat_template: Annotated[
        bool, typer.Option("--apply-chat-template", help="Put capability questions as chat messages.")
    ] = False,
    include_path: Annotated[
        list[Path] | None, typer.Option(help="Folder of your own lm-eval task files. Repeatable.")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    batch_size: Batch = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory for records and leaderboard.", envvar=f"{ENVIRONMENT}OUT")
    ] = None,
    assignments: Set = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and downloaded; do nothing.")
    ] = False,
) -> None:
    """Align, measure, and build the leaderboard. Finished cells are never run again."""
    from bench.display.run import show_outcome, show_plan
    from bench.spec.overrides import split_integers, split_list, split_numbers
    from bench.spec.resolve import resolve_spec

    flags: list[tuple[list[str], Any]] = common_flags(model, device, dtype, batch_size)
    if noise is not None:
        flags.append((["noise", "rates"], split_numbers(noise, "--noise")))
    if pairs is not None:
        flags.append((["pairs", "sizes"], split_integers(pairs, "--pairs")))
    if seeds is not None:
        flags.append((["seeds"], split_integers(seeds, "--seeds")))
    if out is not None:
        flags.append((["out"], str(out)))
    flags += task_flags(protocol, num_fewshot, apply_chat_template, include_path)
    spec = resolve_spec(
        config,
        methods=split_list(methods, "--methods") if methods is not None else None,
        tasks=split_list(tasks, "--tasks") if tasks is not None else None,
        flags=flags,
        limit=limit,
        scorer=scorer,
        assignments=assignments or (),
    )
    if dry_run:
        from bench.harness.plan import plan_run

        show_plan(plan_run(spec), spec)
        return
    from bench.display.console import progress_display
    from bench.harness.run import run as run_spec

    with progress_display() as progress:
        outcome = run_spec(spec, progress=progress)
    show_outcome(outcome, spec)
    if outcome.failed:
        raise typer.Exit(1)


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
    from bench.display.console import progress_display
    from bench.display.run import show_outcome
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


def list_(what: Annotated[Listing, typer.Argument(help="What to list.")]) -> None:
    """List what can be named: methods, tasks, scorers, models, configs."""
    from bench.display.listing import show_listing

    show_listing(what.value)


def leaderboard(
    directory: Annotated[Path, typer.Argument(help="A run's directory.")],
    format: Annotated[Format, typer.Option("--format", "-f", help="How to print it.")] = Format.table,
) -> None:
    """Print the board of finished cells, made anew from the records."""
    from bench.display.board import show_leaderboard

    show_leaderboard(directory, format.value)


def schema() -> None:
    """Print the JSON Schema of a record."""
    from bench.display.listing import show_schema

    show_schema()


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
