"""What every stage of a run will take, from parameters x tokens and the speed of this machine. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.core.store.room import Download
from bench.harness.resolved import Setting
from bench.meters.pilot import Speed
from bench.methods.base import AlignmentMethod
from bench.methods.projection.settings import ProjectionSettings
from bench.methods.training.settings import TrainingSettings
from bench.models.sources import ModelSource
from bench.tasks.base import Task

TABLE: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
SPREAD = 2.0
"""A factor by which an estimate from the pilot may be off, see docs/run/study.md."""
BACKWARD = 2
"""Forward passes that a backward pass takes."""
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Work:
    """Work of a model."""

    tokens: float = 0.0
    """Passed through all weights; those of a backward pass count again."""
    passes: float = 0.0
    """Of a batch, however small."""
    seconds: float = 0.0
    """Besides, whatever the model."""

    def __add__(self, other: Work) -> Work:
        return Work(self.tokens + other.tokens, self.passes + other.passes, self.seconds + other.seconds)


@dataclass(frozen=True)
class Rate:
    """How fast a model works here."""

    parameters: float
    speed: Speed
    dtype: str

    def seconds(self, work: Work) -> float:
        """What work takes."""
        computing = 2 * self.parameters * work.tokens / (self.speed.flops * TABLE["share"])
        calling = work.passes * TABLE["operations_a_pass"] * self.speed.call_seconds
        return float(computing + calling + work.seconds)

    @property
    def load_seconds(self) -> float:
        """To read the weights."""
        return float(TABLE["load"]["seconds"] + self.parameters * BYTES[self.dtype] / TABLE["load"]["bytes"])


def count_parameters(source: ModelSource) -> float | None:
    """Of a model, as catalogue or hub state it, or by its configuration about; None where neither says."""
    if source.entry or source.missing():
        return source.published_parameters()
    config = source.config().get_text_config()
    try:
        hidden, blocks = int(config.hidden_size), int(config.num_hidden_layers)
        vocabulary = int(config.vocab_size)
    except (AttributeError, TypeError):
        return None
    return float(12 * blocks * hidden**2 + vocabulary * hidden)  # four matrices of attention, and an MLP four as wide


def task_items(name: str, task: Task) -> int | None:
    """How many items a task measures, about where no limit says so; None of a task that is not known."""
    about = TABLE["tasks"].get(name)
    if about is None:
        return None
    return int(about["items"]) if task.limit is None else task.limit * len(getattr(task, "tasks", [name]))


def result_bytes(tasks: Mapping[str, Task]) -> float:
    """What one cell about leaves on the disk: its record, and the texts that were written."""
    size = float(TABLE["results"]["bytes"])
    for name, task in tasks.items():
        items = task_items(name, task) or 0
        size += items * TABLE["results"]["item_bytes"]
        if new_tokens := getattr(task, "max_new_tokens", 0):
            text = TABLE["results"]["text_bytes"] + TABLE["results"]["token_bytes"] * new_tokens
            size += items * getattr(task, "samples", 1) * text
    return size


def task_work(name: str, task: Task, batch_size: int) -> tuple[Work, Work] | None:
    """The measurement of one model, and its comparison with the unaligned one; None of a task that is not known."""
    about, items = TABLE["tasks"].get(name), task_items(name, task)
    if about is None or items is None:
        return None
    rows = items * getattr(task, "samples", 1) * about.get("written_share", 1.0)
    new_tokens = getattr(task, "max_new_tokens", 0)
    read = Work(
        items * about["read"],
        math.ceil(items / batch_size),
        about.get("seconds", 0.0) + about.get("item_seconds", 0.0) * rows,
    )
    whole, each = about.get("base", (0, 0))
    against = Work(whole + each * items, math.ceil((whole + each * items) / (batch_size * 20)))
    return read + Work(rows * new_tokens, new_tokens * math.ceil(rows / batch_size)), against


def method_work(method: AlignmentMethod, n_pairs: int, held_out: int) -> Work | None:
    """An alignment, its diagnostics included; None of a method that is not known."""
    pair = 2 * TABLE["pairs"]["tokens"]
    if isinstance(method, TrainingSettings):
        steps = method.steps(n_pairs)
        seen = method.pairs_seen(steps, n_pairs)
        passes = math.ceil(seen / method.batch_size)
        # The reference's pass over all pairs, and a few looks at those that are held out.
        return Work(pair * (seen * (1 + BACKWARD) + n_pairs + 8 * held_out), passes * (1 + BACKWARD))
    if isinstance(method, ProjectionSettings):
        plans = len(method.candidate_ranks()) * max(len(method.cv_layers), 6) if method.searched else 0
        n_texts = n_pairs * (1 + plans)
        return Work(pair * n_texts, math.ceil(2 * n_texts / method.batch_size), 1.0)
    return None


def sampling_work(setting: Setting, batch_size: int) -> Work:
    """The pairs that are to be sampled from the model and labelled."""
    settings = setting.spec.pairs.on_policy
    prompts = settings.n_prompts or TABLE["pairs"]["prompts"]
    rows = prompts * settings.samples
    tokens = rows * settings.max_new_tokens + prompts * TABLE["tasks"]["toxicity"]["read"]
    return Work(tokens, settings.max_new_tokens * math.ceil(rows / batch_size), 2.0)


def sampled_pairs(setting: Setting) -> int:
    """How many pairs sampling will about give, those that are held out included."""
    prompts = setting.spec.pairs.on_policy.n_prompts or TABLE["pairs"]["prompts"]
    return round(prompts * float(TABLE["pairs"]["kept"]))


def fetch_seconds(source: ModelSource) -> float | None:
    """What downloading a model takes, and converting it; None where nobody knows its size yet."""
    entry = source.entry
    sizes = [line.size for line in source.missing() if isinstance(line, Download) and line.size is not None]
    if not sizes and entry is None:
        return None
    downloaded = sum(sizes) if sizes or entry is None else BYTES["float16"] * entry.parameters
    converted = entry.parameters if entry and source.converted_bytes() else 0
    return float(downloaded / TABLE["download_bytes"] + converted / TABLE["convert"])
