"""The embeddings that an edit reads: run where they are not known, shared with every other edit of the same texts."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor

from bench.core.errors import UsageError
from bench.methods.base import AlignmentContext
from bench.methods.pairs.passages import Passage, PassagePairs
from bench.methods.projection.anatomy import Anatomy
from bench.methods.projection.embeddings import Embedder, EmbeddingStore
from bench.methods.projection.last_block import Reading, watched_modules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

R = TypeVar("R")


@dataclass
class Activations:
    """What a model's blocks make of passages, as one alignment needs it."""

    anatomy: Anatomy
    tokenizer: PreTrainedTokenizerBase
    context: AlignmentContext
    batch_size: int
    last_block: Reading = "exact"
    n_embedded: int = 0
    """Texts that had to be run."""
    tokens: int = 0
    """Tokens of the texts that were asked for, whether they had to be run or another edit had left them; a text of
    which deeper blocks were asked for later counts again."""

    def __post_init__(self) -> None:
        self._depths: dict[Passage, int] = {}
        self._store = self.shared("profs embeddings", compute=EmbeddingStore)

    def embed(self, passages: Sequence[Passage], depth: int) -> None:
        """Make the embeddings of `passages` after each of the first `depth` blocks known: longest texts first.

        Raises:
            UsageError: padding counts and the tokenizer has none, or `last_block` does not suit the model's attention.
            BenchError: an activation is NaN or infinite; names the layer.
        """
        padding, end = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        padding_id = end if padding is None else padding
        if padding_id is None and any(passage.stop > len(passage.ids) for passage in passages):
            raise UsageError("pooling=all-positions needs a tokenizer with a padding or end token; use pooling=mean")
        fresh = [passage for passage in dict.fromkeys(passages) if self._depths.get(passage, 0) < depth]
        self._depths |= dict.fromkeys(fresh, depth)
        self.tokens += sum(len(passage.ids) for passage in fresh)
        self.context.shared.reused_seconds += self._store.seconds_saved(passages, depth)
        missing = self._store.missing(passages, depth)
        missing.sort(key=lambda passage: max(len(passage.ids), passage.stop), reverse=True)
        self.n_embedded += len(missing)
        if missing:
            batches = [missing[start : start + self.batch_size] for start in range(0, len(missing), self.batch_size)]
            with (
                watched_modules(self.anatomy, depth, self.last_block) as watched,
                self.context.progress.track("embed texts", len(missing)) as advance,
            ):
                # Padding is masked, and averaged only where it was required above.
                Embedder(self.anatomy, watched, self._store, padding_id=padding_id or 0).run(batches, advance)

    def matrices(self, rows: PassagePairs, layer: int) -> tuple[Tensor, Tensor]:
        """Embeddings of the chosen and of the rejected side after block `layer`, each (pairs, d_model)."""
        device = self.anatomy.values[layer].weight.device
        destination = "cpu" if device.type == "mps" else device  # which has no float64
        chosen, rejected = (self._store.matrix(texts, layer).to(destination) for texts in (rows.chosen, rows.rejected))
        return chosen, rejected

    def shared(self, purpose: str, *key: Hashable, compute: Callable[[], R]) -> R:
        """What `compute` makes of embeddings, worked out once for all edits; `key` says of which, and how."""
        weight = self.anatomy.values[0].weight  # whose dtype and device change an embedding's rounding
        identity = self.context.model_fingerprint, purpose, str(weight.dtype), str(weight.device), self.last_block
        return self.context.shared.get((*identity, *key), compute)
