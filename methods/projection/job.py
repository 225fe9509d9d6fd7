"""What the steps of one projection edit work on, and what they are to remove where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError
from bench.core.hashing import sha256_json
from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.pairs.passages import PassagePairs, read_passages
from bench.methods.projection.anatomy import Anatomy, locate
from bench.methods.projection.embeddings import Activations
from bench.methods.projection.layers import describe
from bench.methods.projection.settings import ProjectionSettings
from bench.methods.projection.subspace import Subspace
from bench.methods.projection.weights import edited_matrices

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


FindSubspace = Callable[[PassagePairs, int, int], Subspace]
"""From rows, a block and a number to that block's first directions: at least as many, fewer where there are fewer."""


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

    method: ProjectionSettings
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


def prepare_edit(
    method: ProjectionSettings,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[PreferencePair],
    context: AlignmentContext,
) -> EditJob:
    """Find the model's parts and read the pairs as tokens, once for all edits of the same pairs.

    Raises:
        BenchError: the model cannot be edited, a text cannot be read, or no pair's two texts differ.
    """
    anatomy = locate(model)
    edited_matrices(anatomy, 0, method.weights)
    content = sha256_json([[pair.prompt, pair.chosen, pair.rejected] for pair in pairs])
    texts = context.shared.get(
        (context.model_fingerprint, "profs passages", method.pooling, method.max_length, content),
        lambda: read_passages(tokenizer, pairs, method.pooling, method.max_length),
    )
    if texts.n_identical == len(pairs):
        raise BenchError(f"in all {len(pairs)} pairs chosen and rejected are the same; nothing tells them apart")
    activations = Activations(anatomy, tokenizer, context, batch_size=method.batch_size, last_block=method.last_block)
    return EditJob(method, model, tokenizer, pairs, texts, activations, context)
