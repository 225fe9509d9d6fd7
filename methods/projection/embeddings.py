"""Sentence embeddings after every block of a model: one pass over each distinct text, kept for every later use."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from bench.core.errors import BenchError, UsageError
from bench.core.passes.predict import Batch, FrozenPass
from bench.methods.base import AlignmentContext
from bench.methods.pairs.passages import Passage, PassagePairs
from bench.methods.projection.anatomy import Anatomy
from bench.methods.projection.last_block import Reading, watched_modules

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

R = TypeVar("R")


class EmbeddingStore:
    """Embeddings of passages by one model, on the CPU in float32."""

    def __init__(self) -> None:
        self._rows: dict[Passage, Tensor] = {}
        self._seconds: dict[Passage, float] = {}

    def missing(self, passages: Sequence[Passage], depth: int) -> list[Passage]:
        """The distinct passages of which the first `depth` blocks are not all known."""
        return [passage for passage in dict.fromkeys(passages) if not self._knows(passage, depth)]

    def seconds_saved(self, passages: Sequence[Passage], depth: int) -> float:
        """What those of `passages` that need no pass through the first `depth` blocks took when they were run."""
        return sum(self._seconds[passage] for passage in dict.fromkeys(passages) if self._knows(passage, depth))

    def add(self, passages: Sequence[Passage], rows: Tensor, seconds: float) -> None:
        """Keep (passages, blocks, d_model) embeddings, which took `seconds` in all."""
        self._rows.update(zip(passages, rows, strict=True))
        self._seconds.update(dict.fromkeys(passages, seconds / len(passages)))

    def matrix(self, passages: Sequence[Passage], layer: int) -> Tensor:
        """Embeddings after block `layer`, (passages, d_model)."""
        return torch.stack([self._rows[passage][layer] for passage in passages])

    def _knows(self, passage: Passage, depth: int) -> bool:
        return passage in self._rows and len(self._rows[passage]) >= depth


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


class Embedder(FrozenPass[Passage]):
    """Feeds a store with one batch after another of the residual stream after each block, before any final norm.

    Positions are averaged as each block is left, so that memory never holds a sequence of activations for more than one
    block. The model is not changed.

    Arguments:
        watched: modules whose outputs are that stream: `last_block.watched_modules`.
        store: of this model, and of this reading of its last block.
        padding_id: token that fills up the rows of a batch on the right; seen only by poolings that count padding.
    """

    def __init__(
        self, anatomy: Anatomy, watched: Sequence[nn.Module], store: EmbeddingStore, *, padding_id: int
    ) -> None:
        super().__init__(anatomy.body, anatomy.values[0].weight.device, padding=padding_id)
        self.watched = tuple(watched)  # in a tuple they are no submodules
        self.store = store
        self.batch_started = time.perf_counter()

    def tokens(self, row: Passage) -> Sequence[int]:
        return row.ids

    def width(self, row: Passage) -> int:
        return max(len(row.ids), row.stop)

    def collate(self, rows: Sequence[Passage]) -> Batch:
        """Right-padded tokens, with the weight of every position in its text's average."""
        batch = super().collate(rows)
        weights = torch.zeros(batch["input_ids"].shape)
        for index, (_, start, stop) in enumerate(rows):
            weights[index, start:stop] = 1 / (stop - start)
        return {**batch, "weights": weights}

    def process(self, rows: Sequence[Passage], batch: Batch) -> None:
        embeddings = pool_blocks(self.model, self.watched, batch).cpu()
        finite = embeddings.isfinite().all(dim=2).all(dim=0)
        if not finite.all():
            raise BenchError(
                f"the activations after layer {int(finite.logical_not().nonzero()[0])} are NaN or infinite; float16 "
                "overflowing is the usual cause: load the model in bfloat16 or float32"
            )
        now = time.perf_counter()  # from batch to batch, so that collation and set-up count as well
        self.store.add(rows, embeddings, now - self.batch_started)
        self.batch_started = now


class _EndOfPassError(Exception):
    """Ends a forward pass early, as nothing after the last block wanted is needed."""


def pool_blocks(body: nn.Module, blocks: Sequence[nn.Module], batch: Batch) -> Tensor:
    """Weighted averages over positions of what each of `blocks` adds up to, (texts, blocks, d_model), float32.

    Arguments:
        body: runs the embeddings and blocks.
        blocks: modules of `body` whose outputs are wanted, in the order in which they run: its first blocks, or what
            stands in for the last. The pass ends after the last of them.
        batch: `input_ids`, `attention_mask` and `weights`, each (texts, positions); weights in float32.
    """
    weights = batch["weights"].unsqueeze(1)
    pools: list[Tensor] = []

    def pool(module: nn.Module, inputs: object, output: Tensor | Sequence[Tensor]) -> None:
        hidden = output if isinstance(output, Tensor) else output[0]  # a few families return a tuple or a list
        pools.append(torch.bmm(weights, hidden.float()).squeeze(1))
        if len(pools) == len(blocks):
            raise _EndOfPassError

    with ExitStack() as hooks:
        for block in blocks:
            hooks.callback(block.register_forward_hook(pool).remove)
        try:
            body(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)
        except _EndOfPassError:
            return torch.stack(pools, dim=1)
    raise AssertionError("a block of the model was never run")
