"""Commands that align one model, or prepare for it: parse, call, print."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.examples import example
from bench.cli.options import Batch, Config, Device, Dtype, Model, Set, common_flags, given, option

pairs_app = typer.Typer(
    help="Preference pairs: look at a file of them, or build them from a model's own samples.", no_args_is_help=True
)


def edit(
    pairs_file: Annotated[Path, option("JSON lines, JSON, CSV or parquet of pairs; with --record the whole pool.")],
    out: Annotated[Path, option("New directory for the Hugging Face checkpoint.")],
    method: Annotated[str | None, option("See `bench list methods`.")] = None,
    record: Annotated[
        Path | None, option("A finished cell's record: align as it says, with its metrics on the card.")
    ] = None,
    model: Model = None,
    assignments: Annotated[list[str] | None, option("A hyperparameter, e.g. rank=2. Repeatable.", "--set")] = None,
    seed: Annotated[
        int | None, option("Of everything random in the method.", min=0, max=2**32 - 1, show_default="0")
    ] = None,
    chat_date: Annotated[
        datetime | None,
        option("What a chat template writes for today's date.", formats=["%Y-%m-%d"], show_default="2024-07-26"),
    ] = None,
    apply_chat_template: Annotated[
        bool, option("Write plain pairs by the model's chat template, as messages are.", "--apply-chat-template")
    ] = False,
    system_prompt: Annotated[str | None, option("System message of each chat that has none.")] = None,
    neutral: Annotated[str | None, option("Prose for the controls that read some.")] = None,
    device: Device = None,
    dtype: Dtype = None,
    push_to_hub: Annotated[str | None, option("ORG/NAME: also upload the checkpoint there.")] = None,
    private: Annotated[bool, option("Make that repository private.", "--private")] = False,
) -> None:
    """Align one model and save it as a Hugging Face checkpoint with a model card."""
    from bench.core.chat import ChatSettings
    from bench.display.console import progress_display
    from bench.edit.make import EditRequest, edit_model

    asked = apply_chat_template or system_prompt is not None
    chat = ChatSettings(apply=apply_chat_template or "auto", system_prompt=system_prompt)

    request = EditRequest(
        pairs_file=pairs_file,
        out=out,
        model=model,
        method=method,
        assignments=assignments or (),
        seed=seed,
        device=device,
        dtype=dtype,
        chat_date=chat_date and chat_date.date(),
        chat=chat if asked else None,
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


def tune(
    method: Annotated[str, typer.Argument(help="A method, or a row of the configuration's methods.")],
    config: Config = None,
    model: Model = None,
    noise: Annotated[float | None, option("Share of pairs corrupted, 0 to 1.")] = None,
    pairs: Annotated[int | None, option("Training pairs, the validation share included.", min=1)] = None,
    seed: Annotated[int | None, option("Of pairs, noise, split and search.")] = None,
    trials: Annotated[int, option("Settings to try, those of earlier calls included.", min=1)] = 20,
    validation: Annotated[float, option("Share of the training pairs that judges.")] = 0.25,
    max_perplexity_rise: Annotated[
        float | None, option("Only settings that raise perplexity by at most this share can win, e.g. 0.05.")
    ] = None,
    space: Annotated[Path | None, option("YAML file: what to vary; see docs/align/tune.md.")] = None,
    device: Device = None,
    dtype: Dtype = None,
    assignments: Set = None,
    out: Annotated[Path | None, option("Directory of the search.", show_default="runs/tune/METHOD")] = None,
) -> None:
    """Search a method's hyperparameters on a share of the noisy training pairs; write the winner as a config."""
    from bench.display.console import progress_display
    from bench.display.tuning import show_tuned
    from bench.tune.request import resolve_tuning
    from bench.tune.search import search_hyperparameters as search

    flags = common_flags(model, device, dtype, None)
    lists = given({("noise", "rates"): noise, ("pairs", "sizes"): pairs, ("seeds",): seed})
    flags += [(path, [value]) for path, value in lists]
    tuning = resolve_tuning(
        method,
        config,
        flags=flags,
        assignments=assignments or (),
        space_file=space,
        trials=trials,
        validation=validation,
        max_perplexity_rise=max_perplexity_rise,
        out=out,
    )
    with progress_display() as progress:
        tuned = search(tuning, progress=progress)
    show_tuned(tuned)


@pairs_app.command("show", epilog=example("pairs show"))
def pairs_show(
    source: Annotated[str, typer.Argument(help="File of pairs, or hub:ORG/NAME.")],
    model: Annotated[str | None, option("Whose chat template writes messages as text.", "--model", "-m")] = None,
    rows: Annotated[int, option("Pairs to print.", "--rows", "-n", min=0)] = 3,
) -> None:
    """Show how the rows of a file are read: as which texts, how many, what is left out and why."""
    from bench.display.console import progress_display
    from bench.display.pairs import show_pairs

    with progress_display() as progress:
        show_pairs(source, model, rows, progress)


@pairs_app.command("build", epilog=example("pairs build"))
def pairs_build(
    config: Config = None,
    model: Model = None,
    device: Device = None,
    dtype: Dtype = None,
    batch_size: Batch = None,
    assignments: Set = None,
    out: Annotated[Path | None, option("Also write them to this JSONL file.")] = None,
) -> None:
    """Sample continuations from the model, keep the least and the most toxic of each prompt as a pair."""
    from bench.display.console import check_writable, progress_display
    from bench.display.run import show_pool
    from bench.harness.run import make_pairs
    from bench.spec.resolve import resolve_spec

    flags = [*common_flags(model, device, dtype, batch_size), (["pairs", "source"], "on-policy")]
    spec = resolve_spec(config, flags=flags, assignments=assignments or ())
    if out is not None:
        check_writable(out)
    with progress_display() as progress:
        pool = make_pairs(spec, progress=progress)
    show_pool(pool, out)
