"""Ranks and layers by cross-validation on the training pairs, noise and all: docs/decisions/004 says why this way."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from bench.core.errors import BenchError
from bench.methods.pairs.completions import Completion, PairTokens, tokenize_pairs
from bench.methods.pairs.gain import HeldOutGain, held_out_gain, mean_and_stderr, pair_costs, split_by_prompt
from bench.methods.pairs.likelihoods import completion_logps, shared_logps
from bench.methods.projection.job import EditJob, EditPlan, FindSubspace
from bench.methods.projection.subspace import Subspace
from bench.methods.projection.weights import edited_for_now

UNPROVEN = "no-held-out-gain"
"""Flag of an edit that did not lower the held-out loss of its own training pairs beyond doubt."""
DOUBT = 2.0
"""Standard errors by which a candidate must be over the limit to drop out."""
ENOUGH = 16
"""Pairs without which a standard error is not trusted."""


@dataclass(frozen=True)
class Fold:
    """What one candidate edit does to pairs that it was not made from."""

    plan: EditPlan
    held_out: HeldOutGain
    pairs: int
    """That it was scored on: fewer than all where it dropped out."""


def cross_validate(job: EditJob, plans: Sequence[EditPlan], find: FindSubspace) -> EditPlan:
    """The candidate whose gain on held-out training pairs is surest, among those that cost the texts little.

    Pairs are split into folds by prompt. For each fold every candidate edit is made from the other folds' pairs and
    scored on the fold by two numbers. Its *gain* is the fall of -log σ(β · m), m being how much further it puts the
    chosen completions above the rejected ones than the unedited model does (Rafailov et al. 2023, arXiv 2305.18290,
    equation 7). Its *cost* is the mean fall of a completion's log-probability, whichever side it is on, so that noise
    in the labels has no part in it. Candidates that are beyond doubt over `cv_max_cost` drop out after a fold, which
    most do after the first. Of what is left the greatest gain less 1.645 standard errors wins. Nothing is read but the
    training pairs and their labels as they are, noise included. The model is left as it was.

    Arguments:
        job: the model, and the pairs, whose embeddings are known.
        plans: the candidates.
        find: gives the directions of a fit; as in ProFS itself, whichever control asks.

    Returns:
        That candidate, with what all of them came to in its `details`.

    Raises:
        BenchError: every candidate costs more than `cv_max_cost`.
    """
    tokens = tokenize_pairs(job.pairs, job.tokenizer, max_length=job.method.max_length, append_eos=False)
    before = shared_logps(job.model, tokens, "float32", job.context)
    folds = split_by_prompt(job.pairs, job.method.cv_folds, job.context.seed)
    after: list[dict[Completion, float]] = [{} for _ in plans]
    racing = list(range(len(plans)))
    held_out: list[PairTokens] = []
    with job.context.progress.track("cross-validate the edit", len(folds) * len(plans)) as advance:
        for folds_left, fold in zip(reversed(range(len(folds))), folds, strict=True):
            pairs = [tokens[row] for row in fold]
            completions = list(dict.fromkeys(text for pair in pairs for text in (pair.chosen, pair.rejected)))
            held_out += pairs
            fitted = sorted(set(range(len(tokens))) - set(fold))
            for number in racing:
                subspaces = _fit(job, plans[number], fitted, find)
                with edited_for_now(job.anatomy, subspaces, job.method.weights, biases=job.method.edit_bias):
                    logps = completion_logps(job.model, completions, "float32", lambda units: None)
                after[number] |= zip(completions, logps, strict=True)
                advance(1)
            costs = {number: pair_costs(held_out, before, after[number]) for number in racing}
            racing = affordable(costs, job.method.cv_max_cost)
            advance(folds_left * (len(costs) - len(racing)))
    trials = []
    for plan, edited in zip(plans, after, strict=True):
        scored = [pair for pair in tokens if pair.chosen in edited and pair.rejected in edited]
        trials.append(Fold(plan, held_out_gain(scored, before, edited, beta=job.method.cv_beta), len(scored)))
    read = sum(map(len, before)) + sum(len(completion) for edited in after for completion in edited)
    return replace(_best(trials, racing, job), tokens_forward=read)


def affordable(costs: Mapping[int, Sequence[float]], limit: float) -> list[int]:
    """The candidates that may yet turn out to cost no more than `limit`, by what they cost pair by pair so far.

    One drops out when its mean is above the limit by `DOUBT` standard errors, or not a number; none does before
    `ENOUGH` pairs are scored.
    """
    if min(map(len, costs.values()), default=0) < ENOUGH:
        return list(costs)
    means = {number: mean_and_stderr(values) for number, values in costs.items()}
    return [number for number, (mean, stderr) in means.items() if mean - DOUBT * stderr <= limit]


def _fit(job: EditJob, plan: EditPlan, rows: Sequence[int], find: FindSubspace) -> dict[int, Subspace]:
    """The directions that the pairs in `rows` give."""
    texts = job.method.labelled_rows(job.texts.rearranged(rows, rows), job.context.seed)
    subspaces = {layer: find(texts, layer, plan.ranks[layer]) for layer in plan.layers}
    for layer, subspace in subspaces.items():
        if len(subspace.directions) < plan.ranks[layer]:
            raise BenchError(
                f"cross-validation: without one fold the {len(texts.chosen)} pairs left differ along only "
                f"{len(subspace.directions)} directions in layer {layer}, and {plan} asks for more; lower cv_ranks, or "
                "give more distinct pairs or prompts"
            )
    return {layer: subspace.first(plan.ranks[layer]) for layer, subspace in subspaces.items()}


def _best(trials: Sequence[Fold], racing: Sequence[int], job: EditJob) -> EditPlan:
    """The surest of those candidates that stayed in the race and within the limit; of equals the first."""
    limit = job.method.cv_max_cost
    finalists = [trials[number] for number in racing if trials[number].held_out.cost <= limit]
    if not finalists:
        cheapest = min(trials, key=lambda trial: math.inf if math.isnan(trial.held_out.cost) else trial.held_out.cost)
        raise BenchError(
            f"cross-validation: every candidate edit makes the pairs' own completions more unlikely than "
            f"cv_max_cost={limit:g} nats a token allows; the least costly, {cheapest.plan}, takes "
            f"{cheapest.held_out.cost:.3g}; raise cv_max_cost, or give other cv_ranks or cv_layers"
        )
    best = max(finalists, key=lambda trial: trial.held_out.sure)
    if not best.held_out.proven:
        job.context.progress.note(
            f"cross-validation: no candidate edit lowers the held-out loss beyond doubt; the best, {best.plan}, gains "
            f"{best.held_out.gain:.4f} ± {best.held_out.stderr:.4f} nats"
        )
    details = {
        "by": "cross-validation",
        "criterion": "fall of the DPO loss on held-out training pairs, nats",
        "beta": job.method.cv_beta,
        "max_cost": limit,
        "folds": job.method.cv_folds,
        "trials": [
            {
                "edit": str(trial.plan),
                "pairs": trial.pairs,
                "ranks": {str(layer): rank for layer, rank in trial.plan.ranks.items()},
                **{name: value if math.isfinite(value) else None for name, value in asdict(trial.held_out).items()},
            }
            for trial in trials
        ],
        "chosen": trials.index(best),
        **({"rank": best.plan.details} if best.plan.details else {}),
    }
    return EditPlan(best.plan.ranks, details, best.plan.flags + (() if best.held_out.proven else (UNPROVEN,)))
