"""What a trainer reads: rows of tokens with the reference's log-probabilities among them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.methods.pairs.completions import Completion
from bench.methods.pairs.likelihoods import shared_completion_logps
from bench.methods.training.rows import both_sides
from bench.methods.training.settings import Row, TrainingSettings

if TYPE_CHECKING:
    from bench.methods.training.job import Job


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
    known: dict[Completion, float] = {}

    def shared(completions: Sequence[Completion]) -> Mapping[Completion, float]:
        return shared_completion_logps(job.model, completions, job.precision, job.context, label)

    def score(completions: Sequence[Completion]) -> Mapping[Completion, float]:
        """All sides of all pairs are scored in one pass, whichever of them a seed has set aside for validation."""
        reference.update(completions)
        if completions and not known:
            known.update(shared(both_sides([*job.data.training, *job.data.validation])))
        return {**known, **shared([side for side in completions if side not in known])}

    training = method.rows(job.data.training, score, job.context.seed)
    validation = method.rows(job.data.validation, score, job.context.seed)
    return Examples(training, validation, reference, time.perf_counter() - started)
