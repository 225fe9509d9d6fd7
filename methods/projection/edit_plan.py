"""What an edit is to remove where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.methods.projection.layers import describe


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
