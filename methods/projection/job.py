"""Everything that the steps of one projection edit work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.pairs.passages import PassagePairs
from bench.methods.projection.activations import Activations
from bench.methods.projection.anatomy import Anatomy
from bench.methods.projection.settings import ProjectionEdit

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class EditJob:
    """One model, its pairs, and how it is to be edited."""

    method: ProjectionEdit
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    pairs: Sequence[PreferencePair]
    texts: PassagePairs
    """The pairs as tokens."""
    activations: Activations
    context: AlignmentContext

    @property
    def anatomy(self) -> Anatomy:
        """The model's parts."""
        return self.activations.anatomy

    @property
    def labelled_rows(self) -> PassagePairs:
        """The rows of the paper's difference matrix."""
        return self.method.labelled_rows(self.texts, self.context.seed)
