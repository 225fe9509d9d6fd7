"""What a training run is given, and what can train in the place of this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from bench.methods.base import AlignmentContext
from bench.methods.pairs.likelihoods import Precision
from bench.methods.training.data import TrainingData
from bench.methods.training.held_out import HeldOut
from bench.methods.training.selection import WeightSelection
from bench.methods.training.settings import Row
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
    ) -> tuple[Watch, dict[str, Any]]:
        """Train the model of `trainer` IN PLACE on `rows`.

        Returns:
            What was seen of the run, and what is to be said of its processes.
        """
        ...

    def close(self) -> None:
        """Leave nothing behind."""
        ...
