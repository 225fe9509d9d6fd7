"""What can be set for an edit that projects directions out of MLP matrices, ProFS or a control, and what is refused."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from bench.core.errors import UsageError
from bench.methods.base import AlignmentContext, AlignmentMethod, PlannedAlignment
from bench.methods.pairs.passages import PassagePairs, Pooling
from bench.methods.projection.anatomy import check_config
from bench.methods.projection.layers import Layers, LayersOrSearch, blocks
from bench.methods.projection.presets import PRESETS, Preset

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from bench.methods.projection.embeddings import Activations
    from bench.methods.projection.subspace import Subspace

REFERENCE_BATCH = 50
"""Rows that the reference code embeds at a time; it drops what does not fill a batch."""


def _read_rank(value: object) -> object:
    if isinstance(value, str) and value not in ("screenot", "cv"):
        raise ValueError(f"'{value}' is no rank; use a whole number from 1, screenot, or cv")
    return value


Rank = Annotated[PositiveInt | Literal["screenot", "cv"], BeforeValidator(_read_rank)]


class ProjectionSettings(AlignmentMethod):
    """How an edit is made: the settings of ProFS and of its controls, without the edit itself."""

    preset: Preset = "paper"
    """Where the defaults come from: the paper's equations, its code, whose choices change numbers, or a model of it."""
    rank: Rank = 2
    """Directions removed in each layer, or who chooses them: `screenot` for each layer, `cv` for all."""
    layers: LayersOrSearch = "upper_half"
    """Blocks edited: `upper_half`, `all`, an inclusive 0-indexed range such as `11-23`, a list of blocks, or `cv`."""
    weights: Literal["value", "key", "both"] = "value"
    """MLP matrices edited: those that write the residual stream, those that read it, or both."""
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
    last_block: Literal["exact", "reference"] = "exact"
    """Whether the last block's output is taken as it is, or as the reference code gets it: see docs/align/profs.md."""
    edit_bias: bool = False
    """Also clear the value matrices' biases, where there are any, of the removed directions."""
    max_rank: PositiveInt = 10
    """Most directions that `rank=screenot` may find in a layer; the paper's bound."""
    cv_ranks: tuple[PositiveInt, ...] = Field(default=(1, 2, 5, 10, 20), min_length=1)
    """Ranks that `rank=cv` tries."""
    cv_layers: tuple[Layers, ...] = ()
    """Choices of blocks that `layers=cv` tries; none given: stretches of quarters of the model, the first left out."""
    cv_folds: int = Field(default=8, ge=2)
    """Parts that cross-validation makes of the pairs."""
    cv_beta: PositiveFloat = 0.1
    """`beta` of the DPO loss on held-out pairs that cross-validation goes by."""
    cv_max_cost: PositiveFloat = 0.1
    """Nats a token by which an edit may lower the log-probability of the pairs' completions, whichever side they are
    on, to be chosen by cross-validation: 0.1 is 10.5 % more perplexity."""

    @property
    def searched(self) -> bool:
        """Whether cross-validation has a choice to make."""
        return "cv" in (self.rank, self.layers)

    @classmethod
    def preset_settings(cls, preset: str) -> Mapping[str, Any]:
        return PRESETS.get(preset, {})

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, data: Any) -> Any:
        preset = data.get("preset") if isinstance(data, dict) else None
        return {**cls.preset_settings(preset), **data} if isinstance(preset, str) else data

    def check(self, planned: PlannedAlignment) -> None:
        check_config(planned.model_config, keys=self.weights != "value")
        text_config, n_pairs = planned.model_config.get_text_config(), planned.n_pairs
        for layers in self.candidate_layers(text_config.num_hidden_layers):
            blocks(layers, text_config.num_hidden_layers)
        n_used = self.used(n_pairs)
        if n_used < 2:
            raise UsageError(f"ProFS needs at least 2 pairs; it would use {n_used} of the {n_pairs} given")
        self._check_rank(n_pairs, text_config.hidden_size)
        positions = getattr(text_config, "max_position_embeddings", None)
        if positions is not None and self.max_length > positions:
            raise UsageError(f"max_length={self.max_length} is more than the model's {positions} positions; lower it")

    def candidate_layers(self, n_blocks: int) -> tuple[tuple[int, ...], ...]:
        """Every choice of blocks that may be edited in a model of `n_blocks`.

        Raises:
            UsageError: a block lies outside the model.
        """
        if self.layers != "cv":
            return (blocks(self.layers, n_blocks),)
        if self.cv_layers:
            return tuple(blocks(layers, n_blocks) for layers in self.cv_layers)
        bounds = sorted({round(n_blocks * quarter / 4) for quarter in (1, 2, 3, 4)})
        return tuple(
            tuple(range(first, stop)) for index, first in enumerate(bounds) for stop in bounds[index + 1 :]
        ) or (blocks("all", n_blocks),)

    def candidate_ranks(self) -> tuple[int, ...]:
        """Every rank that may be used; the largest possible one alone for `screenot`."""
        if self.rank == "cv":
            return self.cv_ranks
        return (self.max_rank,) if self.rank == "screenot" else (self.rank,)

    def labelled_rows(self, texts: PassagePairs, seed: int) -> PassagePairs:
        """The rows of the paper's difference matrix: the pairs, or both sides shuffled apart from each other."""
        n_pairs = len(texts.chosen)
        order, n_used = range(n_pairs), self.used(n_pairs)
        if self.pairing == "paired":
            return texts.rearranged(order[:n_used], order[:n_used])
        shuffle = random.Random(seed)
        return texts.rearranged(*(shuffle.sample(order, n_pairs)[:n_used] for _ in range(2)))

    def rows(self, texts: PassagePairs, tokenizer: PreTrainedTokenizerBase, context: AlignmentContext) -> PassagePairs:
        """The texts that directions are found in, one of each side a row; controls may take others, or none at all."""
        return self.labelled_rows(texts, context.seed)

    def control_directions(
        self, activations: Activations, rows: PassagePairs, layer: int, rank: int, seed: int
    ) -> Subspace | None:
        """What a control removes in place of ProFS's directions; None where it removes these.

        Arguments:
            activations: knows the embeddings of `rows` after this block.
            rows: what `rows` gave.
            layer: the block, from 0.
            rank: directions wanted; where there are not as many, fewer come back.
            seed: of everything random.
        """
        return None

    def used(self, n_pairs: int) -> int:
        """How many of `n_pairs` an edit is made from: all, but for the remainder that may be dropped."""
        return n_pairs - n_pairs % REFERENCE_BATCH if self.drop_remainder and n_pairs > REFERENCE_BATCH else n_pairs

    def _check_rank(self, n_pairs: int, width: int) -> None:
        if self.searched and self.cv_folds > n_pairs:
            raise UsageError(f"cv_folds={self.cv_folds} is more than the {n_pairs} pairs; lower it, or give more pairs")
        fitted = n_pairs - math.ceil(n_pairs / self.cv_folds) if self.searched else n_pairs
        n_used = self.used(fitted)
        if n_used < 2:
            raise UsageError(f"{n_pairs} pairs in {self.cv_folds} folds leave {n_used} to fit on; give more pairs")
        # Centring takes one direction out of the space that the differences can span.
        free = min(n_used, width - (self.center != "none"))
        if self.rank == "screenot":
            if n_pairs < 4:
                raise UsageError(f"rank=screenot needs at least 4 pairs to tell noise by; found {n_pairs}")
            return  # it looks at no more singular values than there are
        if max(self.candidate_ranks()) > free:
            name, within = ("cv_ranks", " in all folds but one") if self.rank == "cv" else ("rank", "")
            raise UsageError(
                f"{name}={max(self.candidate_ranks())} is more than the {free} directions that {n_used} pairs{within} "
                f"can span in a model of width {width}; lower it"
            )
