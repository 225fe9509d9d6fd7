"""How much of the first DPO gradient lies in the ProFS subspace, block by block: section 8 of the ProFS paper."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench.core.errors import BenchError, UsageError
from bench.core.progress import Advance
from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.pairs.completions import PairTokens, tokenize_pairs
from bench.methods.pairs.likelihoods import TOKENS_PER_BATCH, batch_logps, like_lengths
from bench.methods.pairs.passages import PassagePairs, read_passages
from bench.methods.projection.algorithm import find_subspaces
from bench.methods.projection.anatomy import Matrix, locate
from bench.methods.projection.embeddings import Activations
from bench.methods.projection.job import EditJob, EditPlan
from bench.methods.projection.profs import ProFS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DRAWS = 10
"""Random subspaces, random matrices and random matchings that are averaged over."""
BETA = 0.1
"""Of the DPO loss. At the reference it only scales the gradient: no share depends on it."""


@dataclass(frozen=True)
class OverlapSpread:
    """One share measured over several draws."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class LayerOverlap:
    """Shares ‖V G‖ / ‖G‖ (Frobenius) of one block's first DPO gradient, each between 0 and 1."""

    n_pairs: int
    """Pairs whose mean gradient is G; every subspace is found in as many."""
    layer: int
    """The block, from 0."""
    same: float
    """In the ProFS subspace of the same pairs."""
    held_out: float | None
    """In the ProFS subspace of as many other pairs; None where there are not enough."""
    rematched: OverlapSpread
    """In that of the same pairs' texts, paired at random without regard to side."""
    held_out_rematched: OverlapSpread | None
    """In that of the other pairs' texts, paired at random; None where there are not enough."""
    random: OverlapSpread
    """In random subspaces."""
    gaussian: OverlapSpread
    """Of Gaussian random matrices, in place of G, in the ProFS subspace of the same pairs: the paper's baseline."""
    most: float
    """In the best subspace of this rank there is: that of G's own first left singular vectors."""
    gradient_norm: float
    """‖G‖ at beta 0.1."""


def expected_share(rank: int, d_model: int) -> float:
    """√(k/D): the root of the mean squared share of any matrix in random subspaces."""
    return math.sqrt(rank / d_model)


def measure_overlap(
    method: ProFS,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[PreferencePair],
    sizes: Sequence[int],
    *,
    context: AlignmentContext,
) -> list[LayerOverlap]:
    """Compare the gradient that DPO's first step follows with what ProFS would project out; the model is not changed.

    Gradient and subspaces come from the same tokens: prompt and completion, cut at the method's `max_length`.

    Arguments:
        method: says how texts are embedded, paired and centred, and its `rank`, a number, how many directions are
            compared in every block, whatever its `layers`.
        model: in evaluation mode, a reference for the policy that equals it.
        pairs: in an order that fixes which are used: the first of them for the gradient, the last ones held out.
        sizes: numbers of pairs, none above that of `pairs`.
        context: its seed draws the random subspaces, matrices and matchings.

    Returns:
        By size, ascending, and by block.

    Raises:
        BenchError: the pairs do not differ in that many directions, or a gradient is zero, NaN or infinite.
        UsageError: the model cannot be edited, or a pair has no completion left within `max_length`.

    Reference: arXiv 2405.13967, equations 8 and 9 and figure 5.
    """
    if not isinstance(method.rank, int):
        raise UsageError(f"the overlap is measured at one rank for all blocks; give a number, not '{method.rank}'")
    sizes = sorted(sizes)
    tokens = tokenize_pairs(pairs[: sizes[-1]], tokenizer, max_length=method.max_length, append_eos=False)
    activations = Activations(locate(model), tokenizer, context, batch_size=method.batch_size)
    job = EditJob(method, model, tokenizer, pairs, PassagePairs((), ()), activations, context)
    subspaces = _subspaces(job, method.rank, sizes)
    values, draws = job.anatomy.values, torch.Generator().manual_seed(context.seed)
    gaussian = {size: _gaussian_shares(same[0], values, draws) for size, (same, _) in subspaces.items()}
    at_random = random_subspaces(len(values), method.rank, subspaces[sizes[0]][0].shape[-1], draws)
    return [
        _compare(gradient, layer, size, *subspaces[size], at_random, gaussian[size][layer])
        for size, gradients in zip(sizes, _mean_gradients(job, tokens, sizes), strict=True)
        for layer, gradient in enumerate(gradients)
    ]


def _mean_gradients(job: EditJob, tokens: Sequence[PairTokens], sizes: Sequence[int]) -> Iterator[list[Tensor]]:
    """For each size, the gradient of the sigmoid DPO loss over the first pairs, (d_model, d_ff) for each block."""
    values = job.anatomy.values
    sums = [torch.zeros_like(value.weight, dtype=torch.float32) for value in values]
    with job.context.progress.track("first DPO gradient", 2 * sizes[-1]) as advance:
        for done, size in pairwise((0, *sizes)):
            add_preference_gradients(sums, job.model, [value.weight for value in values], tokens[done:size], advance)
            yield [
                (-BETA / 2 / size) * (total.T if value.stream_last else total)
                for total, value in zip(sums, values, strict=True)
            ]


@contextmanager
def only_differentiable(model: PreTrainedModel, weights: Sequence[nn.Parameter]) -> Iterator[None]:
    """Let autograd see `weights` and nothing else of the model while the block runs; afterwards as before."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.requires_grad_(False)
        for weight in weights:
            weight.requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for parameter, required in before:
            parameter.requires_grad_(required)


def add_preference_gradients(
    sums: Sequence[Tensor],
    model: PreTrainedModel,
    weights: Sequence[nn.Parameter],
    pairs: Sequence[PairTokens],
    advance: Advance,
    *,
    tokens_per_batch: int = TOKENS_PER_BATCH,
) -> None:
    """Add Σ (∇ log π(chosen) - ∇ log π(rejected)) over `pairs` to `sums`, IN PLACE; no `grad` of the model is touched.

    At the reference every margin is 0, so that the gradient of the sigmoid DPO loss is -β/2 times the mean of this.

    Arguments:
        sums: float32, one for each of `weights` and of its shape.
        weights: parameters of `model`.
        advance: told the completions done.
        tokens_per_batch: with padding, of one forward and backward pass; changes results by rounding alone.
    """
    signed = [(pair.chosen, 1.0) for pair in pairs] + [(pair.rejected, -1.0) for pair in pairs]
    for batch in like_lengths([completion for completion, _ in signed], tokens_per_batch):
        with only_differentiable(model, weights):
            logps = batch_logps(model, [signed[index][0] for index in batch])
            signs = torch.tensor([signed[index][1] for index in batch], device=logps.device)
            gradients = torch.autograd.grad((signs * logps).sum(), weights)
        for total, gradient in zip(sums, gradients, strict=True):
            total += gradient
        advance(len(batch))


def share(directions: Tensor, matrix: Tensor) -> float:
    """‖V G‖ / ‖G‖ (Frobenius).

    Arguments:
        directions: V, orthonormal rows, (rank, d_model).
        matrix: G, (d_model, d_ff), not zero.
    """
    return float((directions @ matrix).norm() / matrix.norm())


def random_subspaces(n_layers: int, rank: int, d_model: int, generator: torch.Generator) -> Tensor:
    """Uniformly random orthonormal rows, (draws, layers, rank, d_model), on the CPU."""
    draws = torch.randn(DRAWS, n_layers, d_model, rank, generator=generator)
    directions: Tensor = torch.linalg.qr(draws).Q.mT
    return directions


def rematched(texts: PassagePairs, seed: int) -> PassagePairs:
    """All texts shuffled, the first half of them against the second: sides, and who belongs to whom, are forgotten."""
    shuffled = list(texts.chosen + texts.rejected)
    random.Random(seed).shuffle(shuffled)
    half = len(texts.chosen)
    return PassagePairs(tuple(shuffled[:half]), tuple(shuffled[half:]))


def held_out_pairs(pairs: Sequence[PreferencePair], size: int) -> Sequence[PreferencePair] | None:
    """The last `size` pairs that share no prompt with the first `size`; None where there are not as many."""
    used = {pair.prompt for pair in pairs[:size] if pair.prompt}
    others = [pair for pair in pairs[size:] if pair.prompt not in used]
    return others[-size:] if len(others) >= size else None


def _subspaces(job: EditJob, rank: int, sizes: Sequence[int]) -> dict[int, tuple[Tensor, Tensor | None]]:
    """By size, what is found in the first pairs and, where there are as many, in others.

    Returns:
        Each (1 + draws, layers, rank, d_model), on the CPU: ProFS's directions, then those of texts paired at random.
    """

    def read(pairs: Sequence[PreferencePair]) -> PassagePairs:
        return read_passages(job.tokenizer, pairs, job.method.pooling, job.method.max_length)

    def find(texts: PassagePairs) -> Tensor:
        seeds = range(job.context.seed * DRAWS, (job.context.seed + 1) * DRAWS)
        matchings = [texts, *(rematched(texts, seed) for seed in seeds)]
        subspaces = [find_subspaces(job, matching, plan).values() for matching in matchings]
        return torch.stack([torch.stack([subspace.directions.cpu() for subspace in layers]) for layers in subspaces])

    n_blocks = len(job.anatomy.blocks)
    plan = EditPlan(dict.fromkeys(range(n_blocks), rank))
    same = {size: read(job.pairs[:size]) for size in sizes}
    held_out = {size: read(pairs) for size in sizes if (pairs := held_out_pairs(job.pairs, size)) is not None}
    passages = [passage for texts in (*same.values(), *held_out.values()) for passage in texts.chosen + texts.rejected]
    job.activations.embed(passages, n_blocks)  # all in one pass, with one time to wait for
    return {size: (find(same[size]), find(held_out[size]) if size in held_out else None) for size in sizes}


def _compare(
    gradient: Tensor,
    layer: int,
    size: int,
    same: Tensor,
    held_out: Tensor | None,
    at_random: Tensor,
    gaussian: OverlapSpread,
) -> LayerOverlap:
    norm = float(gradient.norm())
    if not math.isfinite(norm) or norm == 0:
        raise BenchError(
            f"the first DPO gradient of layer {layer} over {size} pairs has norm {norm:g}; "
            + ("chosen and rejected are the same to the model" if norm == 0 else "load the model in float32")
        )

    def shares(directions: Tensor) -> list[float]:
        return [share(draw.to(gradient.device), gradient) for draw in directions[:, layer]]

    own, *own_rematched = shares(same)
    others = [] if held_out is None else shares(held_out)
    return LayerOverlap(
        n_pairs=size,
        layer=layer,
        same=own,
        held_out=others[0] if others else None,
        rematched=_spread(own_rematched),
        held_out_rematched=_spread(others[1:]) if others else None,
        random=_spread(shares(at_random)),
        gaussian=gaussian,
        most=best_share(gradient, at_random.shape[2]),
        gradient_norm=norm,
    )


def best_share(matrix: Tensor, rank: int) -> float:
    """The largest share of `matrix`, (d_model, d_ff), that any subspace of `rank` dimensions holds."""
    squares = torch.linalg.eigvalsh(matrix @ matrix.T).clamp(min=0)
    return math.sqrt(float(squares[-rank:].sum() / squares.sum()))


def _gaussian_shares(directions: Tensor, values: Sequence[Matrix], generator: torch.Generator) -> list[OverlapSpread]:
    """Of random matrices in every block's subspace; blocks of one shape share the draws.

    Arguments:
        directions: (layers, rank, d_model).
        values: the matrix of each layer, whose shape the random ones have.
    """
    d_model = directions.shape[-1]
    shares: list[list[float]] = [[] for _ in values]
    for d_ff in sorted({value.weight.numel() // d_model for value in values}):
        for _ in range(DRAWS):
            matrix = torch.randn(d_model, d_ff, generator=generator)
            for layer, value in enumerate(values):
                if value.weight.numel() == d_model * d_ff:
                    shares[layer].append(share(directions[layer], matrix))
    return [_spread(drawn) for drawn in shares]


def _spread(values: Sequence[float]) -> OverlapSpread:
    return OverlapSpread(sum(values) / len(values), min(values), max(values))
