"""Everything that the steps of one projection edit work on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.pairs.passages import PassagePairs
from bench.methods.projection.activations import Activations
from bench.methods.projection.anatomy import Anatomy
from bench.methods.projection.layers import describe
from bench.methods.projection.settings import ProjectionEdit

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class EditPlan:
    """How many directions are removed in which blocks."""

    ranks: Mapping[int, int]
    """By block, ascending; a block whose rank is 0 is left as it is."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """How that was chosen, for the report; empty where it was given."""
    flags: tuple[str, ...] = ()
    tokens_forward: int = 0
    """Tokens that were read to choose it, those of embeddings not among them."""

    @property
    def layers(self) -> tuple[int, ...]:
        """The blocks that are edited."""
        return tuple(layer for layer, rank in self.ranks.items() if rank)

    def __str__(self) -> str:
        ranks = sorted(set(self.ranks.values()))
        rank = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
        return f"rank {rank} in blocks {describe(tuple(self.ranks))}"


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
