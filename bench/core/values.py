"""The frozen values that flow from one package to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

BASE = "base"
"""Name of the unaligned model's row."""


class Value(BaseModel):
    """A frozen pydantic model that knows its keys: an unknown key is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two continuations of one prompt, of which `chosen` is labelled the better one.

    The text a model sees is `prompt + chosen`, plain concatenation: completions carry their own leading space.
    """

    prompt: str
    chosen: str
    rejected: str
    margin: float | None = None
    """The labelling scorer's badness of `rejected` minus that of `chosen`, where a scorer made the label."""
    origin: str | None = field(default=None, compare=False)
    """File and line, or data set and row, that it was read from: for messages, no part of what it says."""
    question: str | None = field(default=None, compare=False)
    """What was asked, where a chat template wrote `prompt` around it; None where none did."""
    closing: str = field(default="", compare=False)
    """What the template closes both completions with: the end of their texts, and none of their words."""

    def flipped(self) -> PreferencePair:
        """The same pair with its label reversed."""
        margin = None if self.margin is None else -self.margin
        return replace(self, chosen=self.rejected, rejected=self.chosen, margin=margin)


class Items(Value):
    """Per-item values behind a metric, in the order of the items; kept so that differences can be paired."""

    ids_sha256: str
    """Hash of the item ids in order: two metrics are paired only where these agree."""
    values: tuple[float | None, ...]
    """One value an item; None where the item could not be measured."""
    weights: tuple[float, ...] | None = None
    """What each value counts for in the aggregate, e.g. tokens in a document; None where all count alike."""


class Metric(Value):
    """One measured number with its uncertainty, and the values it came from."""

    value: float | None
    """None where nothing could be measured; never 0 in its stead."""
    stderr: float | None
    ci95: tuple[float, float] | None
    n: int = Field(ge=0)
    """Items that `value` rests on."""
    unit: str
    higher_is_better: bool
    counts: Mapping[str, int] = Field(default_factory=dict)
    """What did not go as planned, counted: `empty`, `unscored`, `truncated`, …"""
    details: Mapping[str, Any] = Field(default_factory=dict)
    tasks: Mapping[str, Metric] | None = None
    """The parts of an average, e.g. the seven capability tasks."""
    items: Items | None = None


class Effort(Value):
    """What a method did with what it was given, so that methods can be held against each other. None: it has no such
    thing, or does not say; never 0 in its stead.

    Tokens are counted without padding, one that is read twice counts twice. What was found ready, because an earlier
    cell had done it, counts as if it had been done here. Diagnostics do not count.
    """

    steps: int | None = Field(default=None, ge=0)
    """Optimiser steps."""
    tokens_trained: int | None = Field(default=None, ge=0)
    """Tokens read forward and backward, as the trainer counts them."""
    tokens_forward: int | None = Field(default=None, ge=0)
    """Tokens read forward alone: embeddings, reference log-probabilities, what settings or weights are chosen by."""


class AlignmentReport(Value):
    """What a method did to a model."""

    changed: tuple[str, ...]
    """Names of the parameters that differ from before."""
    details: Mapping[str, Any] = Field(default_factory=dict)
    """Plain JSON: whatever the method can say of itself, e.g. singular values or loss curves."""
    flags: tuple[str, ...] = ()
    """Short warnings that the board shows, e.g. `chosen-logprob-collapse`."""
    diagnostic_seconds: float = Field(default=0.0, ge=0)
    """Spent on looking at what was done, not on doing it: no part of the method's cost."""
    earlier_seconds: float = Field(default=0.0, ge=0)
    """Spent by interrupted processes on the work that this one went on from: part of the method's cost."""
    effort: Effort | None = None
    """None where the method does not say."""
