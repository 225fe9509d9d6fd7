"""What several processes are given to train, and what they give back: a folder of JSON and safetensors."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, cast

from bench.core.files import write_json
from bench.methods.pairs.likelihoods import Precision
from bench.methods.training.settings import Row, TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MODEL = "model"
"""A folder: the model as it came, with its tokenizer."""
JOB = "job.json"
"""A `DeviceJob`."""
START = "start.safetensors"
"""Adapters as they were initialised; none where all weights are trained."""
TRAINED = "trained.safetensors"
"""What was trained, after the last step."""
RESULT = "result.json"
PROGRESS = "progress.jsonl"
"""One line for every step, by the first process."""
OUTPUT = "output.txt"
"""What the processes print."""


@dataclass(frozen=True)
class DeviceJob:
    """All that decides a training run but the model's weights."""

    method: str
    """MODULE:CLASS."""
    settings: Mapping[str, Any]
    seed: int
    precision: Precision
    device: str
    """"cpu" or "cuda"."""
    attention: str
    """How the model computes its attention, as transformers names it."""
    dtype: str
    n_pairs: int
    """That the rows were made of."""
    rows: Sequence[Row]
    validation: Sequence[Row]
    held_out: Mapping[str, Any]
    owner: int
    """The process that waits for the result; without it nobody does."""

    def make_method(self) -> TrainingSettings:
        """The method, with its settings."""
        return cast(TrainingSettings, resolve_name(self.method)(**self.settings))


def write_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write the model as it came, before adapters change the names of its weights."""
    import transformers

    untyped: Any = transformers
    bars = untyped.utils.logging
    generation_config, bars_shown = model.generation_config, bars.is_progress_bar_enabled()
    model.generation_config = untyped.GenerationConfig()  # its own has no use here, and may be unfit for writing
    bars.disable_progress_bar()
    try:
        model.save_pretrained(folder / MODEL)
    finally:
        model.generation_config = generation_config
        if bars_shown:
            bars.enable_progress_bar()
    tokenizer.save_pretrained(folder / MODEL)


def load_model(job: DeviceJob, folder: Path, device: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model as it came, in evaluation mode on `device`, and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(
        folder / MODEL,
        dtype=getattr(torch, job.dtype),
        attn_implementation=job.attention,
        local_files_only=True,
        trust_remote_code=False,
    )
    tokenizer = AutoTokenizer.from_pretrained(folder / MODEL, local_files_only=True, trust_remote_code=False)
    return cast("PreTrainedModel", model.to(device).eval()), tokenizer


def read_job(folder: Path) -> DeviceJob:
    """Everything but the weights."""
    return DeviceJob(**json.loads((folder / JOB).read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Fault:
    """Why a process gave up."""

    at: float
    """Seconds since the epoch: what came first is the cause of what came after."""
    rank: int
    message: str
    readable: bool
    """Whether the message is meant for users as it is."""
    out_of_memory: bool
    step: int
    """Of training, counted from 1."""


def write_fault(folder: Path, rank: int, error: BaseException, step: int) -> None:
    """Leave word of why this process gives up."""
    from bench.core.errors import BenchError
    from bench.core.passes.memory import is_out_of_memory

    readable = isinstance(error, BenchError)
    message = str(error) if readable else f"{type(error).__name__}: {error}"
    fault = Fault(time.time(), rank, message, readable, is_out_of_memory(error), step)
    write_json(folder / f"fault-{rank}.json", asdict(fault))


def first_fault(folder: Path) -> Fault | None:
    """Why the run failed: for want of memory, if any process says so, and else what was said first."""
    faults = [Fault(**json.loads(path.read_text(encoding="utf-8"))) for path in folder.glob("fault-*.json")]
    return min(faults, key=lambda fault: (not fault.out_of_memory, fault.at), default=None)
