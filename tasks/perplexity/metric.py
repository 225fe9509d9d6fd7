"""From losses of windows to a perplexity: in a unit, with every item's own value."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bench.core.hashing import sha256_texts
from bench.core.intervals import bootstrap_mean
from bench.core.values import Items, Metric
from bench.tasks.outputs.windows import DIVERGED, Window

UNSPACED = 150.0
"""Losses per word beyond this are of texts that hardly have words; exponentials of their resamples overflow."""

Unit = Literal["token", "word", "byte", "bits-per-byte"]


@dataclass(frozen=True, slots=True)
class Measure:
    """A unit of the headline."""

    name: str
    counted: Literal["tokens", "words", "bytes"]
    nats: float = 1.0
    """What one of the loss's unit is in nats."""

    @property
    def is_exponential(self) -> bool:
        """Whether the headline is the exponential of the mean loss."""
        return self.name.startswith("perplexity")


MEASURES: Mapping[Unit, Measure] = {
    "token": Measure("perplexity per token", "tokens"),
    "word": Measure("perplexity per word", "words"),
    "byte": Measure("perplexity per byte", "bytes"),
    "bits-per-byte": Measure("bits per byte", "bytes", math.log(2)),
}


@dataclass(frozen=True, slots=True)
class Piece:
    """What gets a value of its own: a document, or a window of one long text."""

    identifier: str
    """By its hash measurements are paired: the document's text, or what the window holds."""
    tokens: int
    """How many are scored."""
    words: int
    """In the scored text."""
    bytes: int
    """Of the scored text in UTF-8."""


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """What is to be read and what of it is to be scored."""

    pieces: Sequence[Piece]
    windows: Sequence[Window]
    """`Window.document` is an index in `pieces`."""
    details: Mapping[str, Any]
    weights: Sequence[float] | None = None
    """What each piece counts for; None: as many as it has of the unit."""


def perplexity(plan: WindowPlan, losses: Sequence[float], per: Unit) -> Metric:
    """The metric that a plan's losses make.

    One piece without a finite loss leaves the whole without a value: leaving it out would flatter a broken model.

    Arguments:
        losses: one a window, summed over its scored tokens, in nats.
    """
    measure = MEASURES[per]
    totals = [0.0] * len(plan.pieces)
    for window, loss in zip(plan.windows, losses, strict=True):
        totals[window.document] += loss
    amounts: list[int] = [getattr(piece, measure.counted) for piece in plan.pieces]
    faults = [_fault(piece, total, amount) for piece, total, amount in zip(plan.pieces, totals, amounts, strict=True)]
    values = tuple(
        None if fault else total / amount / measure.nats
        for fault, total, amount in zip(faults, totals, amounts, strict=True)
    )
    weights = tuple(map(float, amounts if plan.weights is None else plan.weights))
    items = Items(
        ids_sha256=sha256_texts([piece.identifier for piece in plan.pieces]),
        values=values,
        weights=None if plan.weights is not None and len(set(weights)) == 1 else weights,
    )
    counts = Counter(fault for fault in faults if fault)
    details: dict[str, Any] = {**plan.details, "tokens": sum(piece.tokens for piece in plan.pieces)}
    value = stderr = bounds = None
    n = sum(value is not None for value in values)
    if n and not counts["diverged"]:
        valid = [index for index, fault in enumerate(faults) if not fault]
        details |= _all_units(sum(totals[index] for index in valid), [plan.pieces[index] for index in valid])
        value, stderr, bounds = _estimate(values, items.weights, measure)
        if value is None:
            counts["unspaced"] = sum(item is not None and item >= UNSPACED for item in values)
    return Metric(
        value=value,
        stderr=stderr,
        ci95=bounds,
        n=n,
        unit=measure.name,
        higher_is_better=False,
        counts={name: counts[name] for name in sorted(counts) if counts[name]},
        details=details,
        items=items,
    )


def _fault(piece: Piece, total: float, amount: int) -> str:
    """Why a piece has no value; empty where it has one."""
    if piece.tokens == 0:
        return "too_short"
    if not total / piece.tokens < DIVERGED:  # NaN is not below either
        return "diverged"
    return "" if amount else "without_words"


def _estimate(
    values: Sequence[float | None], weights: Sequence[float] | None, measure: Measure
) -> tuple[float | None, float | None, tuple[float, float] | None]:
    """Value, standard error and interval; no value where the mean loss is beyond `DIVERGED`."""
    measured = [index for index, value in enumerate(values) if value is not None]
    losses = np.array([values[index] for index in measured], dtype=np.float64)
    if measure.is_exponential and losses.max() >= UNSPACED:
        mean = float(np.average(losses, weights=None if weights is None else [weights[index] for index in measured]))
        return (math.exp(mean) if mean < DIVERGED else None), None, None
    interval = bootstrap_mean(values, weights=weights, transform=np.exp if measure.is_exponential else None)
    return interval.value, interval.stderr, interval.bounds


def _all_units(total: float, pieces: Sequence[Piece]) -> dict[str, Any]:
    """The same losses in every unit, each the sum of losses over the sum of tokens, words or bytes."""
    tokens, words, size = (sum(getattr(piece, name) for piece in pieces) for name in ("tokens", "words", "bytes"))
    return {
        "words": words,
        "bytes": size,
        "token_perplexity": math.exp(total / tokens),
        "bits_per_byte": total / math.log(2) / size if size else None,
        "byte_perplexity": _finite_exp(total, size),
        "word_perplexity": _finite_exp(total, words),
    }


def _finite_exp(total: float, amount: int) -> float | None:
    return math.exp(total / amount) if amount and total / amount < DIVERGED else None
