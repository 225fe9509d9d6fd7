"""What a training run is given, what a trainer reads of it, and what can train in the place of this process."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bench.core.reports import WorkerReport
from bench.methods.base import AlignmentContext
from bench.methods.pairs.completions import Completion, all_completions
from bench.methods.pairs.likelihoods import Precision, shared_completion_logps
from bench.methods.training.data import TrainingData
from bench.methods.training.held_out import HeldOut
from bench.methods.training.selection import WeightSelection
from bench.methods.training.settings import Row, TrainingSettings
from bench.methods.training.watch import Watch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer


@dataclass(frozen=True)
class Job:
    """What a training run is given, whatever its method."""

    model: PreTrainedModel
    """Borrowed, so that what TRL does to it besides training is undone."""
    tokenizer: PreTrainedTokenizerBase
    """Left as it is."""
    data: TrainingData
    precision: Precision
    context: AlignmentContext
    held_out: HeldOut
    """Looked at in between, off the bill."""


class OtherProcesses(Protocol):
    """Processes that train a model in the place of this one."""

    def train(
        self, trainer: Trainer, rows: Sequence[Row], validation: Sequence[Row], selection: WeightSelection | None
    ) -> tuple[Watch, WorkerReport]:
        """Train the model of `trainer` IN PLACE on `rows`.

        Returns:
            What was seen of the run, and what is to be said of its processes.
        """
        ...

    def close(self) -> None:
        """Leave nothing behind."""
        ...


@dataclass(frozen=True)
class Examples:
    """What the trainer reads."""

    training: Sequence[Row]
    validation: Sequence[Row]
    reference: Set[Completion]
    """Whose log-probabilities under the weights as they came are among it."""
    seconds: float
    """That these took."""


def make_examples(method: TrainingSettings, job: Job, label: str) -> Examples:
    """Rows for the trainer; `label` names what was done to the weights that the reference is."""
    started = time.perf_counter()
    reference: set[Completion] = set()
    shared_logps: dict[Completion, float] = {}

    def shared(completions: Sequence[Completion]) -> Mapping[Completion, float]:
        return shared_completion_logps(job.model, completions, job.precision, job.context, label)

    def score(completions: Sequence[Completion]) -> Mapping[Completion, float]:
        """All sides of all pairs are scored in one pass, whichever of them a seed has set aside for validation."""
        reference.update(completions)
        if completions and not shared_logps:
            shared_logps.update(shared(all_completions([*job.data.training, *job.data.validation])))
        return {**shared_logps, **shared([text for text in completions if text not in shared_logps])}

    training = method.rows(job.data.training, score, job.context.seed)
    validation = method.rows(job.data.validation, score, job.context.seed)
    return Examples(training, validation, reference, time.perf_counter() - started)
