"""What a trainer reads: rows of tokens with the reference's log-probabilities among them."""

from __future__ import annotations

import time
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from methods.preference_tokens import Completion
from methods.reference import shared_completion_logps
from methods.tuning import Row, TuningMethod

if TYPE_CHECKING:
    from methods.training import Job


@dataclass(frozen=True)
class Examples:
    """What the trainer reads."""

    training: Sequence[Row]
    validation: Sequence[Row]
    reference: Set[Completion]
    """Whose log-probabilities under the weights as they came are among it."""
    seconds: float
    """That these took."""


def make_examples(method: TuningMethod, job: Job, label: str) -> Examples:
    """Rows for the trainer; `label` names what was done to the weights that the reference is."""
    started = time.perf_counter()
    reference: set[Completion] = set()

    def score(completions: Sequence[Completion]) -> Any:
        reference.update(completions)
        return shared_completion_logps(job.model, completions, job.precision, job.context, label)

    training = method.rows(job.data.training, score, job.context.seed)
    validation = method.rows(job.data.validation, score, job.context.seed)
    return Examples(training, validation, reference, time.perf_counter() - started)
