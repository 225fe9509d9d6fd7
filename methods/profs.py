"""ProFS: projection filter for subspaces, an edit of weights without training."""

from __future__ import annotations

import importlib
import random
import re
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, NonNegativeInt, PositiveInt, model_validator

from bench.core.errors import BenchError, UsageError
from bench.core.values import AlignmentReport, PreferencePair
from methods.base import AlignmentContext, AlignmentMethod
from methods.families import check_config, locate
from methods.passages import PassagePairs, Pooling, read_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from methods.embeddings import EmbeddingStore
    from methods.families import Anatomy
    from methods.subspace import Subspace

REFERENCE_BATCH = 50
"""Rows that the reference code embeds at a time; it drops what does not fill a batch."""
SPECTRUM = 20
"""Singular values reported, and directions kept for later edits of the same embeddings, at the least."""
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "paper": {},
        "reference": {
            "center": "top-singular-vector",
            "pooling": "all-positions",
            "pairing": "independent",
            "drop_remainder": True,
        },
    }
)
"""Fields that a preset sets where they are not given.

One thing that the reference code does is not among them: it runs the last block again without an attention mask, which
changes what that block's padding positions hold, and so, with `all-positions`, the last layer's directions.
"""


def _read_layers(value: object) -> object:
    """Layers as a name or as ascending block numbers: `upper_half`, `all`, `11-23`, `11`, a list of numbers."""
    if value in ("upper_half", "all"):
        return value
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)(?:-(\d+))?", value.strip())):
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"'{value}' is an empty range: its last block comes before its first")
        return tuple(range(first, last + 1))
    numbers = sorted(value) if isinstance(value, list | tuple) and all(type(n) is int for n in value) else [value]
    if not numbers or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError(
            f"{value!r} is no choice of layers; use upper_half, all, a block such as 11, an inclusive range such as "
            "11-23, or a list of blocks; the first block is 0"
        )
    if any(low == high for low, high in pairwise(numbers)):
        raise ValueError(f"{value!r} names a block twice")
    return tuple(numbers)


Layers = Annotated[Literal["upper_half", "all"] | tuple[NonNegativeInt, ...], BeforeValidator(_read_layers)]


class ProFS(AlignmentMethod):
    """Projects the directions in which rejected texts differ from chosen ones out of the MLP value matrices.

    One forward pass over the texts, one small eigenproblem a layer, no training. Flipping a pair's label only changes
    the sign of a row of the difference matrix, so that nothing but the centre depends on which side is which.

    Reference: Uppaal et al., "Model Editing as a Robust and Denoised variant of DPO", ICLR 2025, arXiv 2405.13967.
    Its text gives no pooling; the default here is the mean over a text's own tokens.
    """

    preset: Literal["paper", "reference"] = "paper"
    """Where the defaults come from: the paper's equations, or its code, whose choices change numbers."""
    rank: PositiveInt = 2
    """Directions removed in each layer."""
    layers: Layers = "upper_half"
    """Blocks edited: `upper_half`, `all`, an inclusive 0-indexed range such as `11-23`, or a list of blocks."""
    center: Literal["mean", "top-singular-vector", "none"] = "mean"
    """Direction of the chosen texts that the differences are kept clear of."""
    pooling: Pooling = "mean"
    """Tokens averaged into a text's embedding: all of its own, its `completion`'s, the `last`, or padding as well."""
    pairing: Literal["paired", "independent"] = "paired"
    """Whether a chosen text is compared with its own rejected one, or each side is shuffled by itself."""
    max_length: PositiveInt = 128
    """Tokens of a text that are read, special tokens included."""
    batch_size: PositiveInt = 32
    """Texts a forward pass; changes results by rounding alone."""
    drop_remainder: bool = False
    """Leave out the pairs that do not fill a batch of 50."""
    edit_bias: bool = False
    """Also clear the value matrices' biases, where there are any, of the removed directions."""

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, data: Any) -> Any:
        preset = data.get("preset") if isinstance(data, dict) else None
        return {**PRESETS.get(preset, {}), **data} if isinstance(preset, str) else data

    def warm_up(self) -> None:
        for module in ("methods.embeddings", "methods.subspace", "methods.edit"):
            importlib.import_module(module)

    def check(self, model_config: Any, n_pairs: int, *, dtype: str = "float32", device: str = "cpu") -> None:
        check_config(model_config)
        text_config = model_config.get_text_config()
        self.blocks(text_config.num_hidden_layers)
        kept = self._kept(n_pairs)
        if kept < 2:
            raise UsageError(f"ProFS needs at least 2 pairs; it would use {kept} of the {n_pairs} given")
        # Centring takes one direction out of the space that the differences can span.
        width = text_config.hidden_size - (self.center != "none")
        if self.rank > min(kept, width):
            raise UsageError(
                f"rank={self.rank} is more than the {min(kept, width)} directions that {kept} pairs "
                f"can span in a model of width {text_config.hidden_size}; lower it"
            )
        positions = getattr(text_config, "max_position_embeddings", None)
        if positions is not None and self.max_length > positions:
            raise UsageError(f"max_length={self.max_length} is more than the model's {positions} positions; lower it")

    def blocks(self, n_blocks: int) -> tuple[int, ...]:
        """The blocks edited in a model of `n_blocks`, ascending.

        Raises:
            UsageError: one of them lies outside the model.
        """
        if self.layers == "all":
            return tuple(range(n_blocks))
        if self.layers == "upper_half":
            return tuple(range(n_blocks // 2, n_blocks))
        if self.layers[-1] >= n_blocks:
            raise UsageError(f"layer {self.layers[-1]} is outside the model, whose blocks are 0 to {n_blocks - 1}")
        return self.layers

    def align(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Sequence[PreferencePair],
        *,
        context: AlignmentContext,
    ) -> AlignmentReport:
        from methods.edit import edit_value

        dtype = str(model.dtype).removeprefix("torch.")
        self.check(model.config, len(pairs), dtype=dtype, device=str(model.device))
        anatomy = locate(model)
        layers = self.blocks(len(anatomy.blocks))
        texts = read_pairs(tokenizer, pairs, self.pooling, self.max_length)
        if texts.n_identical == len(pairs):
            raise BenchError(f"in all {len(pairs)} pairs chosen and rejected are the same; nothing tells them apart")
        started = time.perf_counter()
        store, n_embedded = self._embed(anatomy, tokenizer, texts, layers[-1] + 1, context)
        embedded = time.perf_counter()
        rows = self._arrange(texts, context.seed)
        # Everything that can fail comes before the first weight is touched.
        subspaces = [self._subspace(anatomy, store, rows, layer, context) for layer in layers]
        changed: list[str] = []
        reports: list[dict[str, Any]] = []
        for layer, subspace in zip(layers, subspaces, strict=True):
            value = anatomy.values[layer]
            directions = subspace.directions[: self.rank].to(value.weight.device)
            change, names = edit_value(
                value, directions, transposed=anatomy.family.transposed, edit_bias=self.edit_bias
            )
            changed += names
            reports.append({"layer": layer, **_spectrum(subspace, self.rank), **asdict(change)})
        details = {
            "rank": self.rank,
            "n_pairs": len(rows.chosen),
            **_text_counts(texts, self.max_length),
            "n_embedded": n_embedded,
            "embed_seconds": embedded - started,
            "edit_seconds": time.perf_counter() - embedded,
            "note": anatomy.family.note,
            "layers": reports,
        }
        flags = ("identical-pairs",) if texts.n_identical else ()
        return AlignmentReport(changed=tuple(changed), details=details, flags=flags)

    def _kept(self, n_pairs: int) -> int:
        return n_pairs - n_pairs % REFERENCE_BATCH if self.drop_remainder and n_pairs > REFERENCE_BATCH else n_pairs

    def _embed(
        self,
        anatomy: Anatomy,
        tokenizer: PreTrainedTokenizerBase,
        texts: PassagePairs,
        depth: int,
        context: AlignmentContext,
    ) -> tuple[EmbeddingStore, int]:
        """Embeddings of `texts` after the first `depth` blocks, and how many texts had to be run for them."""
        from methods.embeddings import EmbeddingStore, embed

        padding_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        if padding_id is None and self.pooling == "all-positions":
            raise UsageError("pooling=all-positions needs a tokenizer with a padding or end token; use pooling=mean")
        store = context.shared.get(_identity(anatomy, context, "profs embeddings"), EmbeddingStore)
        passages = texts.chosen + texts.rejected
        context.shared.reused_seconds += store.seconds_saved(passages, depth)
        n_embedded = embed(
            store,
            anatomy,
            passages,
            depth,
            padding_id=padding_id or 0,  # masked, and averaged only where it was required above
            batch_size=self.batch_size,
            progress=context.progress,
        )
        return store, n_embedded

    def _arrange(self, texts: PassagePairs, seed: int) -> PassagePairs:
        """The rows of the difference matrix."""
        n_pairs = len(texts.chosen)
        order = range(n_pairs)
        if self.pairing == "paired":
            return texts.rearranged(order[: self._kept(n_pairs)], order[: self._kept(n_pairs)])
        shuffle = random.Random(seed)
        sides = [shuffle.sample(order, n_pairs)[: self._kept(n_pairs)] for _ in range(2)]
        return texts.rearranged(*sides)

    def _subspace(
        self, anatomy: Anatomy, store: EmbeddingStore, rows: PassagePairs, layer: int, context: AlignmentContext
    ) -> Subspace:
        """One layer's unwanted directions, at least `rank` of them; shared by all edits of the same rows."""
        from methods.subspace import unwanted_subspace

        count = max(self.rank, SPECTRUM)
        device = anatomy.values[layer].weight.device
        place = "cpu" if device.type == "mps" else device  # which has no float64

        def compute() -> Subspace:
            chosen, rejected = (store.matrix(side, layer).to(place) for side in (rows.chosen, rows.rejected))
            return unwanted_subspace(chosen, rejected, count, self.center)

        key = *_identity(anatomy, context, "profs subspace"), layer, self.center, count, rows
        subspace = context.shared.get(key, compute)
        if len(subspace.directions) < self.rank:
            raise BenchError(
                f"in layer {layer} the {len(rows.chosen)} pairs differ along only {len(subspace.directions)} of the "
                f"{self.rank} directions that rank={self.rank} asks for; lower it, or give more distinct pairs"
            )
        return subspace


def _identity(anatomy: Anatomy, context: AlignmentContext, purpose: str) -> tuple[Hashable, ...]:
    """What embeddings depend on besides their texts; dtype and device change their rounding."""
    weight = anatomy.values[0].weight
    return context.model_fingerprint, purpose, str(weight.dtype), str(weight.device)


def _spectrum(subspace: Subspace, rank: int) -> dict[str, Any]:
    return {
        "singular_values": subspace.singular_values[:SPECTRUM].tolist(),
        "energy_removed": subspace.energy(rank),
    }


def _text_counts(texts: PassagePairs, max_length: int) -> dict[str, Any]:
    lengths = [len(passage.ids) for passage in texts.chosen + texts.rejected]
    return {
        "n_identical": texts.n_identical,
        "mean_tokens": sum(lengths) / len(lengths),
        "n_at_max_length": sum(length == max_length for length in lengths),
    }
