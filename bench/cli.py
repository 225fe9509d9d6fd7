"""The command line: parse, call, print. Imports nothing heavy until a verb needs it."""

from __future__ import annotations

import signal
import sys
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from bench.core.errors import BenchError

INTERRUPTED = 130
ENVIRONMENT = "ALIGNMENT_BENCH_"

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


class Listing(StrEnum):
    """What `bench list` can list."""

    methods = "methods"
    tasks = "tasks"
    scorers = "scorers"
    models = "models"
    configs = "configs"


class Format(StrEnum):
    """How a leaderboard is printed."""

    markdown = "markdown"
    json = "json"
    table = "table"


Config = Annotated[
    str | None,
    typer.Option(
        "--config", "-c", help="YAML file or shipped name.", show_default="quickstart", envvar=f"{ENVIRONMENT}CONFIG"
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="Name from `bench list models`, hub id, or folder.", envvar=f"{ENVIRONMENT}MODEL"
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps, or auto.", envvar=f"{ENVIRONMENT}DEVICE")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16, float16, or auto.", envvar=f"{ENVIRONMENT}DTYPE")]
Batch = Annotated[
    str | None,
    typer.Option("--batch-size", help="Evaluation batch: a number or auto.", envvar=f"{ENVIRONMENT}BATCH_SIZE"),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Any setting, e.g. methods.dpo.learning_rate=5e-5. Repeatable.")
]


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

    flags: list[tuple[list[str], Any]] = _common_flags(model, device, dtype, batch_size)
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
    method: Annotated[str, typer.Option(help="See `bench list methods`.")],
    pairs_file: Annotated[Path, typer.Option(help="JSONL with prompt, chosen, rejected.")],
    out: Annotated[Path, typer.Option(help="New directory for the Hugging Face checkpoint.")],
    model: Model = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="A hyperparameter, e.g. rank=2. Repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of everything random in the method.")] = 0,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Align one model and save it as a Hugging Face checkpoint."""
    from bench.edit import edit_model
    from bench.show import progress_display

    with progress_display() as progress:
        path = edit_model(
            model or "smollm2-135m",
            method,
            pairs_file,
            out,
            assignments=assignments or (),
            seed=seed,
            device=device or "auto",
            dtype=dtype or "auto",
            progress=progress,
        )
    typer.echo(path)


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

    flags = [*_common_flags(model, device, dtype, batch_size), (["pairs", "source"], "on-policy")]
    spec = resolve_spec(config, flags=flags, assignments=assignments or ())
    if out is not None:
        check_writable(out)
    with progress_display() as progress:
        pool = make_pairs(spec, progress=progress)
    show_pool(pool, out)


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


def _common_flags(
    model: str | None, device: str | None, dtype: str | None, batch_size: str | None
) -> list[tuple[list[str], Any]]:
    size = int(batch_size) if batch_size is not None and batch_size.isdecimal() else batch_size
    given = {"model": model, "device": device, "dtype": dtype, "batch_size": size}
    return [([key], value) for key, value in given.items() if value is not None]


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
