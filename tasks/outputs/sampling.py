"""Tokens drawn with chances as the model gives them, by random numbers of each text's own. Imports torch."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor

from bench.tasks.outputs.continuations import GeneratedRow, GenerationSettings

BLOCK = 512
"""Tokens of the vocabulary that are summed before any is looked at alone."""
IN_CACHE = 2**18
"""Logits worked on at once on a CPU: 1 MiB in float32, which stays in the processor's cache between steps."""

Uniform = Callable[[], float]
"""Gives the next random number of one text, in [0, 1)."""


class SeededSampling(LogitsProcessor):
    """Draws each row's next token, and makes it the likeliest one, so that a greedy choice takes it.

    Each row has its own generator, seeded from the run's seed, the prompt's id and the sample's number: what it draws
    rests on its own probabilities alone.
    """

    def __init__(self, rows: Sequence[GeneratedRow], settings: GenerationSettings, seed: int) -> None:
        self.temperature = settings.temperature
        self.top_p = settings.top_p
        self.uniforms = [random.Random(row_seed(seed, row.prompt_id, row.sample)).random for row in rows]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """`scores`, float32 logits, (rows, vocabulary), overwritten: infinite at the token drawn, finite elsewhere."""
        at_once = max(1, IN_CACHE // scores.shape[1]) if scores.device.type == "cpu" else len(scores)
        for start in range(0, len(scores), at_once):
            some = scores[start : start + at_once]
            tokens = draw_tokens(some, self.uniforms[start : start + at_once], self.temperature, self.top_p)
            some.scatter_(1, tokens[:, None].to(some.device), float("inf"))
        return scores


def row_seed(seed: int, prompt_id: str, sample: int) -> int:
    """The seed of one text: 63 bits of a hash of all that names it."""
    digest = hashlib.sha256(f"{seed}\n{prompt_id}\n{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def draw_tokens(logits: Tensor, uniforms: Sequence[Uniform], temperature: float, top_p: float) -> Tensor:
    """One token a row from its nucleus: the smallest set of tokens, likeliest first, whose probability reaches `top_p`.

    Of tokens that are equally likely the first in the vocabulary rank higher. The vocabulary is never sorted: a token
    is drawn from all, and stands if those that rank above it have less than `top_p` together; else it is drawn again
    from those. A row takes one number, or with a nucleus at most 1 / top_p in the mean.

    Arguments:
        logits: float32, (rows, vocabulary). Overwritten.
        uniforms: one a row.

    Returns:
        Indices, (rows,), on the CPU; any index where a row is not a number.

    Reference: nucleus, Holtzman et al. 2020, arXiv 1904.09751; drawing without sorting as in FlashInfer, Ye et al.
    2025, arXiv 2501.01005.
    """
    weights = logits.sub_(logits.amax(dim=-1, keepdim=True)).div_(temperature).exp_()
    sums = _running_sums(weights)
    tokens, drawn = _draw(weights, sums, uniforms)
    if top_p == 1:
        return tokens
    enough, undecided = sums[:, -1] * top_p, torch.arange(len(tokens))
    while True:
        _keep_those_above(weights, tokens[undecided], drawn)
        sums = _running_sums(weights)
        outside = sums[:, -1] >= enough
        if not outside.any():
            return tokens
        weights, sums, enough = weights[outside.to(weights.device)], sums[outside], enough[outside]
        undecided = undecided[outside]
        tokens[undecided], drawn = _draw(weights, sums, [uniforms[row] for row in undecided.tolist()])


def _running_sums(weights: Tensor) -> Tensor:
    """Of the weights up to the end of each block of the vocabulary, (rows, blocks), float64, on the CPU."""
    whole = weights.shape[1] // BLOCK * BLOCK
    parts = [weights[:, :whole].view(len(weights), -1, BLOCK).sum(dim=-1)] if whole else []
    if whole < weights.shape[1]:
        parts.append(weights[:, whole:].sum(dim=-1, keepdim=True))
    return torch.cat(parts, dim=1).cpu().double().cumsum(dim=-1)


def _draw(weights: Tensor, sums: Tensor, uniforms: Sequence[Uniform]) -> tuple[Tensor, Tensor]:
    """One token a row in proportion to its weight, by the inverse of the running sum, and what it weighs; on the CPU.

    A token without weight is never drawn: a number is compared with sums that it may equal, and is less than the last.
    """
    numbers = torch.tensor([uniform() for uniform in uniforms], dtype=torch.float64)[:, None] * sums[:, -1:]
    block = torch.searchsorted(sums, torch.minimum(numbers, _below(sums[:, -1:])), right=True)
    before = torch.where(block > 0, sums.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = block * BLOCK + torch.arange(BLOCK)
    last = weights.shape[1] - 1
    chances = weights.gather(1, inside.clamp(max=last).to(weights.device)).cpu().masked_fill_(inside > last, 0.0)
    steps = chances.double().cumsum(dim=-1)
    position = torch.searchsorted(steps, torch.minimum(numbers - before, _below(steps[:, -1:])), right=True)
    position = position.clamp(max=BLOCK - 1)  # where weights are not numbers, nothing is found
    return (block * BLOCK + position).clamp(max=last)[:, 0], chances.gather(1, position)[:, 0]


def _below(numbers: Tensor) -> Tensor:
    """The next smaller ones, of numbers that are not negative."""
    return torch.nextafter(numbers, torch.zeros_like(numbers))


def _keep_those_above(weights: Tensor, tokens: Tensor, drawn: Tensor) -> None:
    """Set every weight to 0, in place, that does not rank above that of the row's token, which is `drawn`."""
    for row, token, weight, below in zip(weights, tokens.tolist(), drawn.tolist(), _below(drawn).tolist(), strict=True):
        torch.threshold_(row[:token], below, 0.0)  # as likely, but earlier: these rank above
        torch.threshold_(row[token:], weight, 0.0)
