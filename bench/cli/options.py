"""Flags that several commands have in common, alone and in groups."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import typer

ENVIRONMENT = "ALIGNMENT_BENCH_"
"""What the environment variables that stand for flags begin with."""

T = TypeVar("T")
Parser = Callable[[str, str], T]
"""From the text given to a flag, and the flag's name for messages."""


Listing = Literal[
    "methods", "tasks", "scorers", "models", "configs", "noise", "protocols", "presets", "losses", "prompts"
]
"""What `bench list` can list."""
Format = Literal["markdown", "json", "table"]
"""How tables are printed."""


def option(text: str, *names: str, env: str | None = None, **settings: Any) -> Any:
    """A flag with its help; `env` is the environment variable that stands for it, without `ALIGNMENT_BENCH_`."""
    return typer.Option(*names, help=text, envvar=env and f"{ENVIRONMENT}{env}", **settings)


Config = Annotated[
    str | None, option("YAML file or shipped name.", "--config", "-c", env="CONFIG", show_default="quickstart")
]
Model = Annotated[str | None, option("Name from `bench list models`, hub id, or folder.", "--model", "-m", env="MODEL")]
Device = Annotated[str | None, option("cpu, cuda, cuda:1, mps, or auto.", env="DEVICE")]
Dtype = Annotated[str | None, option("float32, bfloat16, float16, or auto.", env="DTYPE")]
Batch = Annotated[str | None, option("Evaluation batch: a number or auto.", "--batch-size", env="BATCH_SIZE")]
Set = Annotated[list[str] | None, option("Any setting, e.g. methods.dpo.learning_rate=5e-5. Repeatable.", "--set")]
BoardFormat = Literal["table", "markdown", "json", "csv", "latex", "html"]
"""How a board is printed."""
PrintFormat = Annotated[Format, option("How to print it.", "--format", "-f")]

Target = Annotated[
    str | None,
    typer.Argument(help="YAML file, shipped name, or the directory of a run; as --config.", show_default="quickstart"),
]
Amend = Annotated[
    list[str] | None,
    option(
        "Add to what there was in the last run, and run what is new: seeds=5 (means 0 to 4), seeds=0,7, rates=0.6, "
        "sizes=20,all, methods=cdpo, noise=replace. Repeatable."
    ),
]
DryRun = Annotated[bool, option("Say what would be done and downloaded; do nothing.", "--dry-run")]
Notes = Annotated[bool, option("Show the whole board: tasks, guards, budget, notes.", "--notes")]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Flags of a run or study for which cells there are, and what is measured of each."""

    model: Model = None
    methods: Annotated[str | None, option("Which methods, e.g. profs,dpo. base is always there.", env="METHODS")] = None
    noise: Annotated[str | None, option("Share of pairs corrupted, 0 to 1; several: 0,0.3.", env="NOISE")] = None
    no_clean_twin: Annotated[
        bool, option("Do not measure methods without noise where --noise has no 0.", "--no-clean-twin")
    ] = False
    pairs: Annotated[str | None, option("Training pairs; several: 50,100,all.", env="PAIRS")] = None
    seeds: Annotated[str | None, option("How many seeds: 3 is 0,1,2. Or which: 0,7.", env="SEEDS")] = None
    tasks: Annotated[str | None, option("What to measure, e.g. toxicity,perplexity,capability.", env="TASKS")] = None
    limit: Annotated[int | None, option("Items a task measures: prompts, documents.", env="LIMIT", min=1)] = None


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Flags of a run or study for how its tasks measure."""

    scorer: Annotated[str | None, option("Who judges toxicity: see `bench list scorers`.", env="SCORER")] = None
    protocol: Annotated[
        str | None, option("How toxicity is measured: greedy, profs2025, lee2024, rtp.", env="PROTOCOL")
    ] = None
    num_fewshot: Annotated[int | None, option("Solved examples before each capability task.", min=0)] = None
    apply_chat_template: Annotated[
        bool, option("Write pairs, prompts and questions as chats.", "--apply-chat-template")
    ] = False
    include_path: Annotated[list[Path] | None, option("Folder of your own lm-eval task files. Repeatable.")] = None


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Flags of a run or study for where it is carried out and written, and for any other setting."""

    device: Device = None
    dtype: Dtype = None
    batch_size: Batch = None
    out: Annotated[Path | None, option("Directory for records and leaderboard.", env="OUT")] = None
    assignments: Set = None


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes a flag for each field of those of its parameters that are groups; Typer knows no groups."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    flags: list[Parameter] = []
    for name, parameter in signature(command).parameters.items():
        parts = signature(groups[name]).parameters.values() if name in groups else [parameter]
        types = get_type_hints(groups[name], include_extras=True) if name in groups else hints
        flags += [part.replace(kind=Parameter.KEYWORD_ONLY, annotation=types[part.name]) for part in parts]

    @wraps(command)
    def with_flags(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    with_flags.__signature__ = Signature(flags)  # type: ignore[attr-defined]
    return with_flags


def parsed(text: str | None, flag: str, parse: Parser[T]) -> T | None:
    """What a flag's text means; None where it is not given."""
    return None if text is None else parse(text, flag)


def given(values: Mapping[tuple[str, ...], Any]) -> list[tuple[Sequence[str], Any]]:
    """Paths in a configuration and what flags put there, without those that are not given."""
    return [(path, value) for path, value in values.items() if value is not None]


def common_flags(
    model: str | None, device: str | None, dtype: str | None, batch_size: str | None
) -> list[tuple[Sequence[str], Any]]:
    """What the flags that most commands have put into a configuration."""
    size = int(batch_size) if batch_size is not None and batch_size.isdecimal() else batch_size
    return given({("model",): model, ("device",): device, ("dtype",): dtype, ("batch_size",): size})
