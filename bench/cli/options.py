"""Flags that several verbs of the command line have in common."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

ENVIRONMENT = "ALIGNMENT_BENCH_"
"""What the environment variables that stand for flags begin with."""


class Listing(StrEnum):
    """What `bench list` can list."""

    methods = "methods"
    tasks = "tasks"
    scorers = "scorers"
    models = "models"
    configs = "configs"


class Format(StrEnum):
    """How tables are printed."""

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


def common_flags(
    model: str | None, device: str | None, dtype: str | None, batch_size: str | None
) -> list[tuple[list[str], Any]]:
    """The places in a spec that the flags of most verbs stand for, and what was given for them."""
    size = int(batch_size) if batch_size is not None and batch_size.isdecimal() else batch_size
    given = {"model": model, "device": device, "dtype": dtype, "batch_size": size}
    return [([key], value) for key, value in given.items() if value is not None]


def task_flags(
    protocol: str | None, num_fewshot: int | None, apply_chat_template: bool, include_path: Sequence[Path] | None
) -> list[tuple[list[str], Any]]:
    """The places in the tasks' settings that the flags of `bench run` stand for, and what was given for them."""
    given = {
        ("tasks", "toxicity", "protocol"): protocol,
        ("tasks", "capability", "num_fewshot"): num_fewshot,
        ("tasks", "capability", "apply_chat_template"): apply_chat_template or None,
        ("tasks", "capability", "include_path"): [str(path) for path in include_path] if include_path else None,
    }
    return [(list(place), value) for place, value in given.items() if value is not None]
