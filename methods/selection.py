"""Ranks and layers by cross-validation on the training pairs, noise and all: docs/decisions/004 says why this way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.core.errors import BenchError
from methods.edit import edited_for_now
from methods.edit_job import EditJob
from methods.edit_plan import EditPlan
from methods.held_out_gain import HeldOutGain, held_out_gain, split_by_prompt
from methods.preference_tokens import Completion, PairTokens, tokenize_pairs
from methods.reference import completion_logps, shared_logps
from methods.subspace import Subspace

UNPROVEN = "no-held-out-gain"
"""Flag of an edit that did not lower the held-out loss of its own training pairs beyond doubt."""


@dataclass(frozen=True)
class Trial:
    """What one candidate edit does to pairs that it was not made from."""

    plan: EditPlan
    held_out: HeldOutGain


def cross_validate(job: EditJob, plans: Sequence[EditPlan]) -> EditPlan:
    """The candidate with the lowest DPO loss on held-out training pairs.

    Pairs are split into folds by prompt. For each fold every candidate edit is made from the other folds' pairs and
    judged by -log σ(β · m), m being how much further it puts the fold's chosen completions above the rejected ones than
    the unedited model does (Rafailov et al. 2023, arXiv 2305.18290, equation 7). The loss reads nothing but the
    training pairs and their labels as they are, noise included; being concave in m, it also charges for edits that
    move both completions about, which is what damage does. The model is left as it was.

    Returns:
        That candidate, with what all of them came to in its `details`.
    """
    tokens = tokenize_pairs(job.pairs, job.tokenizer, max_length=job.method.max_length, append_eos=False)
    before = shared_logps(job.model, tokens, "float32", job.context)
    folds = split_by_prompt(job.pairs, job.method.cv_folds, job.context.seed)
    after: list[dict[Completion, float]] = [{} for _ in plans]
    with job.context.progress.track("cross-validate the edit", len(folds) * len(plans)) as advance:
        for fold in folds:
            judged = [tokens[row] for row in fold]
            fitted = sorted(set(range(len(tokens))) - set(fold))
            for plan, logps in zip(plans, after, strict=True):
                with edited_for_now(
                    job.anatomy, _fit(job, plan, fitted), job.method.weights, biases=job.method.edit_bias
                ):
                    logps.update(_logps(job, judged))
                advance(1)
    trials = [
        Trial(plan, held_out_gain(tokens, before, logps, beta=job.method.cv_beta))
        for plan, logps in zip(plans, after, strict=True)
    ]
    return _best(trials, job)


def _fit(job: EditJob, plan: EditPlan, rows: Sequence[int]) -> dict[int, Subspace]:
    """The directions that the pairs in `rows` give; as in ProFS itself, whichever control asks."""
    texts = job.method.labelled_rows(job.texts.rearranged(rows, rows), job.context.seed)
    found = {
        layer: job.activations.subspace(texts, layer, job.method.center, plan.ranks[layer]) for layer in plan.layers
    }
    for layer, subspace in found.items():
        if len(subspace.directions) < plan.ranks[layer]:
            raise BenchError(
                f"cross-validation: without one fold the {len(texts.chosen)} pairs left differ along only "
                f"{len(subspace.directions)} directions in layer {layer}, and {plan} asks for more; lower cv_ranks, or "
                "give more distinct pairs or prompts"
            )
    return {layer: subspace.first(plan.ranks[layer]) for layer, subspace in found.items()}


def _logps(job: EditJob, pairs: Sequence[PairTokens]) -> Iterator[tuple[Completion, float]]:
    sides = list(dict.fromkeys(side for pair in pairs for side in (pair.chosen, pair.rejected)))
    return zip(sides, completion_logps(job.model, sides, "float32", lambda units: None), strict=True)


def _best(trials: Sequence[Trial], job: EditJob) -> EditPlan:
    """The candidate with the greatest gain; of equals the first. NaN, from an edit that broke the model, never wins."""
    best = max(trials, key=lambda trial: -math.inf if math.isnan(trial.held_out.gain) else trial.held_out.gain)
    if not best.held_out.proven:
        job.context.progress.note(
            f"cross-validation: no candidate edit lowers the held-out loss beyond doubt; the best, {best.plan}, gains "
            f"{best.held_out.gain:.4f} ± {best.held_out.stderr:.4f} nats"
        )
    details = {
        "by": "cross-validation",
        "criterion": "fall of the DPO loss on held-out training pairs, nats",
        "beta": job.method.cv_beta,
        "folds": job.method.cv_folds,
        "trials": [_plain(trial) for trial in trials],
        "chosen": trials.index(best),
        **({"rank": best.plan.details} if best.plan.details else {}),
    }
    return EditPlan(best.plan.ranks, details, best.plan.flags + (() if best.held_out.proven else (UNPROVEN,)))


def _plain(trial: Trial) -> dict[str, Any]:
    plain = {name: value if math.isfinite(value) else None for name, value in asdict(trial.held_out).items()}
    return {"edit": str(trial.plan), "ranks": {str(k): v for k, v in trial.plan.ranks.items()}, **plain}
