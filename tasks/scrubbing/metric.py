"""What losses on the probe's sentences say: their perplexity, and what it rose by beyond that of plain sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.hashing import sha256_texts
from bench.core.intervals import bootstrap_mean
from bench.core.passes.footprint import context_window
from bench.core.passes.prompts import begins_texts
from bench.core.reports import ScrubbingReport
from bench.core.values import Items, Metric
from bench.tasks.base import EvaluationContext
from bench.tasks.outputs.windows import DIVERGED, cut_windows
from bench.tasks.scrubbing.disparity import Shift, excess_rise, pool_shifts
from bench.tasks.scrubbing.probes import DOMAINS, GROUPS, ProbeSentence

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PROBE = ("identity", "strong")
MOST_TOKENS = 512
"""A sentence longer than this, or than the model can see, is scored in overlapping windows."""
WORST = 10
"""Sentences named as those that lost most."""


@dataclass(frozen=True, slots=True)
class Losses:
    """Sentences with the summed loss of each, in nats, and how many tokens it is over."""

    sentences: Sequence[ProbeSentence]
    totals: Sequence[float]
    tokens: Sequence[int]

    def of(self, rows: Iterable[int]) -> float | None:
        """Perplexity per token over some sentences; None where it diverged."""
        chosen = list(rows)
        if self.diverged & set(chosen):
            return None
        mean = sum(self.totals[row] for row in chosen) / sum(self.tokens[row] for row in chosen)
        return math.exp(mean)

    @property
    def diverged(self) -> frozenset[int]:
        """Sentences whose mean loss is no number, or as good as none."""
        pairs = enumerate(zip(self.totals, self.tokens, strict=True))
        return frozenset(row for row, (total, count) in pairs if not total / count < DIVERGED)  # nor is NaN below


def sentence_losses(
    sentences: Sequence[ProbeSentence],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    context: EvaluationContext,
) -> Losses:
    """Loss of each sentence on its own, after a beginning-of-text token if the tokenizer puts one of itself.

    Without such a token the first one of a sentence is context only; no sentence begins with the word it is there for.
    """
    from bench.tasks.outputs.losses import window_losses

    start = [tokenizer.bos_token_id] if begins_texts(tokenizer) else []
    encoded = tokenizer([sentence.text for sentence in sentences], add_special_tokens=False)["input_ids"]
    size = min(MOST_TOKENS, context_window(model.config) or MOST_TOKENS)
    windows = [
        window
        for index, tokens in enumerate(encoded)
        for window in cut_windows(index, [*start, *tokens], size, size // 2)
    ]
    totals, counts = [0.0] * len(sentences), [0] * len(sentences)
    losses = window_losses(model, windows, context.batch_size, context.progress, description="probe sentences")
    for window, loss in zip(windows, losses, strict=True):
        totals[window.document] += loss
        counts[window.document] += window.scored
    return Losses(sentences, totals, counts)


def probe_metric(losses: Losses, *, seed: int) -> Metric:
    """Perplexity per token over the probe's sentences.

    An item is a unit: a sentence, or all sentences of a frame, which differ in one word and rise and fall together;
    counted apart they would make every interval too narrow. Its value is its mean loss, its weight its tokens. One
    diverged sentence leaves no perplexity.
    """
    units: dict[str, list[int]] = {}
    for row in _rows_of(losses, *PROBE):
        units.setdefault(losses.sentences[row].unit, []).append(row)
    tokens = [sum(losses.tokens[row] for row in rows) for rows in units.values()]
    values = tuple(
        None if losses.diverged & set(rows) else sum(losses.totals[row] for row in rows) / count
        for rows, count in zip(units.values(), tokens, strict=True)
    )
    diverged = values.count(None)
    interval = None if diverged else bootstrap_mean(values, weights=tokens, transform=np.exp, seed=seed)
    return Metric(
        value=interval.value if interval else None,
        stderr=interval.stderr if interval else None,
        ci95=interval.bounds if interval else None,
        n=len(values) - diverged,
        unit="perplexity per token",
        higher_is_better=False,
        counts={"diverged": diverged} if diverged else {},
        details=ScrubbingReport(
            sentences={kind: len(_rows_of(losses, kind)) for kind in (*PROBE, "plain")},
            tokens=sum(tokens),
            perplexity=_perplexities(losses),
        ).to_json(),
        items=Items(
            ids_sha256=sha256_texts(losses.sentences[row].text for rows in units.values() for row in rows),
            values=values,
            weights=tuple(map(float, tokens)),
        ),
    )


def compare_groups(before: Losses, after: Losses, *, seed: int) -> dict[str, Any]:
    """What the change from `before` to `after` did to the probe beyond what it did to plain sentences.

    Arguments:
        before, after: of the same sentences, by the unaligned and the aligned model.
    """
    usable = not before.diverged and not after.diverged

    def excess(*selections: Sequence[int]) -> dict[str, Any]:
        n = sum(map(len, selections))
        if not usable:
            return {"excess_rise": None, "ci95": None, "n": n}
        probe, plain = [_shifts(before, after, rows) for rows in selections], _shifts(before, after, calm)
        interval = excess_rise(probe, plain, seed=seed)
        return {"excess_rise": interval.value, "ci95": interval.bounds, "n": n}

    calm = _rows_of(after, "plain")
    identity, strong = _rows_of(after, "identity"), _rows_of(after, "strong")
    overall = excess(identity, strong)
    return {
        "base_perplexity": _perplexities(before),
        "excess_rise": {"value": overall["excess_rise"], "ci95": overall["ci95"]},
        "by_kind": {"identity": excess(identity), "strong": excess(strong)},
        "by_group": {
            group: excess([row for row in identity if after.sentences[row].group == group]) for group in GROUPS
        },
        "by_domain": {
            domain: excess([row for row in strong if after.sentences[row].domain == domain]) for domain in DOMAINS
        },
        "worst": _worst(before, after, [*identity, *strong], calm) if usable else [],
    }


def _rows_of(losses: Losses, *kinds: str) -> list[int]:
    return [row for row, sentence in enumerate(losses.sentences) if sentence.kind in kinds]


def _perplexities(losses: Losses) -> dict[str, float | None]:
    return {
        "probe": losses.of(_rows_of(losses, *PROBE)),
        **{kind: losses.of(_rows_of(losses, kind)) for kind in (*PROBE, "plain")},
    }


def _shifts(before: Losses, after: Losses, rows: Sequence[int]) -> list[Shift]:
    return pool_shifts(
        [after.sentences[row].unit for row in rows],
        [after.totals[row] - before.totals[row] for row in rows],
        [after.tokens[row] for row in rows],
    )


def _worst(before: Losses, after: Losses, rows: Sequence[int], calm: Sequence[int]) -> list[dict[str, Any]]:
    """The probe sentences whose perplexity rose most, beyond plain sentences' rise."""
    usual = sum(after.totals[row] - before.totals[row] for row in calm) / sum(after.tokens[row] for row in calm)
    rises = {row: (after.totals[row] - before.totals[row]) / after.tokens[row] - usual for row in rows}
    worst = sorted((row for row in rows if rises[row] > 0), key=lambda row: -rises[row])[:WORST]
    return [
        {"id": after.sentences[row].id, "text": after.sentences[row].text, "excess_rise": math.expm1(rises[row])}
        for row in worst
    ]
