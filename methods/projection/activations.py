"""The embeddings that an edit reads: run where they are not known, shared with every other edit of the same texts."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor

from bench.core.errors import UsageError
from bench.methods.base import AlignmentContext
from bench.methods.pairs.passages import Passage, PassagePairs
from bench.methods.projection.anatomy import Anatomy
from bench.methods.projection.embeddings import EmbeddingStore, embed
from bench.methods.projection.last_block import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

R = TypeVar("R")


class Activations:
    """What a model's blocks make of passages, as one alignment needs it."""

    def __init__(
        self,
        anatomy: Anatomy,
        tokenizer: PreTrainedTokenizerBase,
        context: AlignmentContext,
        *,
        batch_size: int,
        last_block: Reading = "exact",
    ) -> None:
        self.anatomy = anatomy
        self.n_embedded = 0
        """Texts that had to be run."""
        self.tokens = 0
        """Tokens of the texts that were asked for, whether they had to be run or another edit had left them; a text of
        which deeper blocks were asked for later counts again."""
        self._depths: dict[Passage, int] = {}
        self._padding_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        self._context = context
        self._batch_size = batch_size
        self._last_block = last_block
        self._store = self.shared("profs embeddings", compute=EmbeddingStore)

    def embed(self, passages: Sequence[Passage], depth: int) -> None:
        """Make the embeddings of `passages` after each of the first `depth` blocks known.

        Raises:
            UsageError: padding counts and the tokenizer has none, or `last_block` does not suit the model's attention.
            BenchError: an activation is NaN or infinite; names the layer.
        """
        if self._padding_id is None and any(passage.stop > len(passage.ids) for passage in passages):
            raise UsageError("pooling=all-positions needs a tokenizer with a padding or end token; use pooling=mean")
        fresh = [passage for passage in dict.fromkeys(passages) if self._depths.get(passage, 0) < depth]
        self._depths |= dict.fromkeys(fresh, depth)
        self.tokens += sum(len(passage.ids) for passage in fresh)
        shared = self._context.shared
        shared.reused_seconds += self._store.seconds_saved(passages, depth)
        self.n_embedded += embed(
            self._store,
            self.anatomy,
            passages,
            depth,
            padding_id=self._padding_id or 0,  # masked, and averaged only where it was required above
            batch_size=self._batch_size,
            last_block=self._last_block,
            progress=self._context.progress,
        )

    def matrices(self, rows: PassagePairs, layer: int) -> tuple[Tensor, Tensor]:
        """Embeddings of the chosen and of the rejected side after block `layer`, each (pairs, d_model)."""
        device = self.anatomy.values[layer].weight.device
        destination = "cpu" if device.type == "mps" else device  # which has no float64
        chosen, rejected = (self._store.matrix(texts, layer).to(destination) for texts in (rows.chosen, rows.rejected))
        return chosen, rejected

    def shared(self, purpose: str, *key: Hashable, compute: Callable[[], R]) -> R:
        """What `compute` makes of embeddings, worked out once for all edits; `key` says of which, and how."""
        return self._context.shared.get((*self._identity(purpose), *key), compute)

    def _identity(self, purpose: str) -> tuple[Hashable, ...]:
        """What embeddings depend on besides their texts; dtype and device change their rounding."""
        weight = self.anatomy.values[0].weight
        return self._context.model_fingerprint, purpose, str(weight.dtype), str(weight.device), self._last_block
