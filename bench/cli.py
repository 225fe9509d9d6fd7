"""The command line: parse, call, print. Imports nothing heavy until a verb needs it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from bench.cli_options import ENVIRONMENT, Batch, Config, Device, Dtype, Format, Listing, Model, Set, common_flags
from bench.core.errors import BenchError

INTERRUPTED = 130

app = typer.Typer(
    name="bench",
    help="Compare ways of aligning language models under label noise, with honest error bars.",
    epilog="Every verb takes --debug, which shows tracebacks and the libraries' own messages.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
pairs_app = typer.Typer(help="Preference pairs: build them from a model's own samples.", no_args_is_help=True)
app.add_typer(pairs_app, name="pairs")
analyse_app = typer.Typer(help="Look at a model and its pairs without aligning anything.", no_args_is_help=True)
app.add_typer(analyse_app, name="analyse")


@app.command()
def run(
    config: Config = None,
    model: Model = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Which methods, e.g. profs,dpo. base is always there.", envvar=f"{ENVIRONMENT}METHODS"),
    ] = None,
    noise: Annotated[
        str | None, typer.Option(help="Share of labels flipped, 0 to 1; several: 0,0.3.", envvar=f"{ENVIRONMENT}NOISE")
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
    from bench.overrides import split_integers, split_list, split_numbers
    from bench.settings import resolve_spec
    from bench.show import show_outcome, show_plan

    flags: list[tuple[list[str], Any]] = common_flags(model, device, dtype, batch_size)
    if noise is not None:
        flags.append((["noise", "rates"], split_numbers(noise, "--noise")))
    if pairs is not None:
        flags.append((["pairs", "sizes"], split_integers(pairs, "--pairs")))
    if seeds is not None:
        flags.append((["seeds"], split_integers(seeds, "--seeds")))
    if out is not None:
        flags.append((["out"], str(out)))
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
        from bench.harness import plan

        show_plan(plan(spec), spec)
        return
    from bench.harness import run as run_spec
    from bench.show import progress_display

    with progress_display() as progress:
        outcome = run_spec(spec, progress=progress)
    show_outcome(outcome, spec)
    if outcome.failed:
        raise typer.Exit(1)


@app.command("list")
def list_(what: Annotated[Listing, typer.Argument(help="What to list.")]) -> None:
    """List what can be named: methods, tasks, scorers, models, configs."""
    from bench.show import show_listing

    show_listing(what.value)


@app.command()
def leaderboard(
    directory: Annotated[Path, typer.Argument(help="A run's directory.")],
    format: Annotated[Format, typer.Option("--format", "-f", help="How to print it.")] = Format.table,
) -> None:
    """Print the board of finished cells, made anew from the records."""
    from bench.show import show_leaderboard

    show_leaderboard(directory, format.value)


@app.command()
def edit(
    pairs_file: Annotated[
        Path, typer.Option(help="JSONL with prompt, chosen, rejected; with --record the whole pool.")
    ],
    out: Annotated[Path, typer.Option(help="New directory for the Hugging Face checkpoint.")],
    method: Annotated[str | None, typer.Option(help="See `bench list methods`.")] = None,
    record: Annotated[
        Path | None, typer.Option(help="A finished cell's record: align as it says, with its metrics on the card.")
    ] = None,
    model: Model = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="A hyperparameter, e.g. rank=2. Repeatable.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="Of everything random in the method.", show_default="0")
    ] = None,
    neutral: Annotated[str | None, typer.Option(help="Prose for the controls that read some.")] = None,
    device: Device = None,
    dtype: Dtype = None,
    push_to_hub: Annotated[str | None, typer.Option(help="ORG/NAME: also upload the checkpoint there.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make that repository private.")] = False,
) -> None:
    """Align one model and save it as a Hugging Face checkpoint with a model card."""
    from bench.edit import EditRequest, edit_model
    from bench.show import progress_display

    request = EditRequest(
        pairs_file=pairs_file,
        out=out,
        model=model,
        method=method,
        assignments=assignments or (),
        seed=seed,
        device=device,
        dtype=dtype,
        neutral=neutral,
        record=record,
        push_to=push_to_hub,
        private=private,
    )
    with progress_display() as progress:
        edited = edit_model(request, progress)
    typer.echo(edited.folder)
    if edited.url is not None:
        typer.echo(edited.url)


@pairs_app.command("build")
def pairs_build(
    config: Config = None,
    model: Model = None,
    device: Device = None,
    dtype: Dtype = None,
    batch_size: Batch = None,
    assignments: Set = None,
    out: Annotated[Path | None, typer.Option(help="Also write them to this JSONL file.")] = None,
) -> None:
    """Sample continuations from the model, keep the least and the most toxic of each prompt as a pair."""
    from bench.harness import make_pairs
    from bench.settings import resolve_spec
    from bench.show import check_writable, progress_display, show_pool

    flags = [*common_flags(model, device, dtype, batch_size), (["pairs", "source"], "on-policy")]
    spec = resolve_spec(config, flags=flags, assignments=assignments or ())
    if out is not None:
        check_writable(out)
    with progress_display() as progress:
        pool = make_pairs(spec, progress=progress)
    show_pool(pool, out)


@app.command()
def tune(
    method: Annotated[str, typer.Argument(help="A method, or a row of the configuration's methods.")],
    config: Config = None,
    model: Model = None,
    noise: Annotated[float | None, typer.Option(help="Share of labels flipped, 0 to 1.")] = None,
    pairs: Annotated[int | None, typer.Option(min=1, help="Training pairs, the validation share included.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of pairs, noise, split and search.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Settings to try, those of earlier calls included.")] = 20,
    validation: Annotated[float, typer.Option(help="Share of the training pairs that judges.")] = 0.25,
    space: Annotated[Path | None, typer.Option(help="YAML file: what to vary; see docs/tune.md.")] = None,
    device: Device = None,
    dtype: Dtype = None,
    assignments: Set = None,
    out: Annotated[Path | None, typer.Option(help="Directory of the search.", show_default="runs/tune/METHOD")] = None,
) -> None:
    """Search a method's hyperparameters on a share of the noisy training pairs; write the winner as a config."""
    from bench.show import progress_display
    from bench.show_tuning import show_tuned
    from bench.tune import tune as search
    from bench.tune_request import resolve_tuning

    flags = common_flags(model, device, dtype, None)
    single = {("noise", "rates"): noise, ("pairs", "sizes"): pairs, ("seeds",): seed}
    flags += [(list(place), [value]) for place, value in single.items() if value is not None]
    tuning = resolve_tuning(
        method,
        config,
        flags=flags,
        assignments=assignments or (),
        space_file=space,
        trials=trials,
        validation=validation,
        out=out,
    )
    with progress_display() as progress:
        tuned = search(tuning, progress=progress)
    show_tuned(tuned)


@analyse_app.command("overlap")
def analyse_overlap(
    config: Config = None,
    model: Model = None,
    sizes: Annotated[str, typer.Option(help="Pairs whose mean gradient is taken; several: 8,32,128.")] = "8,32,128",
    rank: Annotated[int, typer.Option(min=1, help="Directions of each block's ProFS subspace.")] = 2,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the subsample and of random draws.")] = 0,
    device: Device = None,
    dtype: Dtype = None,
    assignments: Set = None,
    out: Annotated[Path, typer.Option(help="Directory for overlap.json, .csv, .png and .svg.")] = Path("runs/overlap"),
    format: Annotated[Format, typer.Option("--format", "-f", help="How to print it.")] = Format.table,
) -> None:
    """Show how much of DPO's first gradient lies in the ProFS subspace, block by block, against controls."""
    from bench.analyse import analyse_overlap as analyse
    from bench.overlap_tables import show_overlap
    from bench.overrides import split_integers
    from bench.settings import resolve_spec
    from bench.show import progress_display

    flags = common_flags(model, device, dtype, None)
    spec = resolve_spec(config, flags=flags, assignments=assignments or ())
    numbers = split_integers(sizes, "--sizes")
    with progress_display() as progress:
        report = analyse(spec, numbers, rank=rank, seed=seed, out=out, progress=progress)
    show_overlap(report, out, format.value)


@app.command()
def inspect(
    record: Annotated[str, typer.Argument(help="A record's file, RUN_DIR:CELL, or a run's directory with one.")],
    format: Annotated[Format, typer.Option("--format", "-f", help="How to print it.")] = Format.table,
    plot: Annotated[
        Path | None,
        typer.Option(help="Picture's file: .png, .svg or .pdf.", show_default="RUN_DIR/figures/CELL.png"),
    ] = None,
    no_plot: Annotated[bool, typer.Option("--no-plot", help="Draw no picture.")] = False,
    directions: Annotated[int, typer.Option(min=0, help="Directions of each layer put in tokens.")] = 1,
) -> None:
    """Show what one cell's method did to the model: layers, directions as tokens, curves."""
    from bench.inspect_record import inspect_record

    inspect_record(record, format.value, plot=plot, draw=not no_plot, directions=directions)


@app.command()
def doctor() -> None:
    """Show versions, devices, caches, and which sources can be reached."""
    from bench.show import show_diagnosis

    if not show_diagnosis():
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a record."""
    from bench.show import show_schema

    show_schema()


def main() -> None:
    """Entry point of the `bench` command: every expected error is one message and an exit status."""
    arguments = [_with_dashes(argument) for argument in sys.argv[1:]]
    debug = "--debug" in arguments
    signal.signal(signal.SIGTERM, _terminate)
    if not debug:
        from bench.quiet import silence_libraries

        silence_libraries()
    try:
        app([argument for argument in arguments if argument != "--debug"])
    except BenchError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_status)
    except (KeyboardInterrupt, SystemExit) as error:
        if not was_interrupted(error):
            raise
        typer.echo("interrupted; whatever was finished is kept, and the same command goes on from there", err=True)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        typer.echo(f"unexpected error: {type(error).__name__}: {error}; --debug shows where", err=True)
        sys.exit(1)


def _terminate(number: int, frame: FrameType | None) -> None:
    """A polite kill is an interruption; without a handler in place Lightning would set one that ignores it."""
    raise KeyboardInterrupt


def was_interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C is behind an exit: Lightning makes `SystemExit(1)` of it, and Typer `SystemExit(130)`."""
    asked = isinstance(error, KeyboardInterrupt) or getattr(error, "code", None) == INTERRUPTED
    return asked or isinstance(error.__context__, KeyboardInterrupt)


def _with_dashes(argument: str) -> str:
    """`--batch_size=8` means `--batch-size=8`: both spellings are in use among neighbouring tools."""
    name, separator, value = argument.partition("=")
    return name.replace("_", "-") + separator + value if name.startswith("--") else argument


if __name__ == "__main__":
    main()
