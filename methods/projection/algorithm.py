"""ProFS step by step, to be read beside Algorithm 1 of its paper.

Uppaal et al., "Model Editing as a Robust and Denoised variant of DPO: A Case Study on Toxicity", ICLR 2025, arXiv
2405.13967, section 4. What the paper writes, and where it is here:

    (xᵢ⁺, xᵢ⁻), i = 1 … N    row i of `rows`: the rejected (in the paper: toxic) and the chosen text of one pair
    ℓ = L0 … L               `layer`, a block of the model, counted from 0
    X⁺, X⁻                   `rejected` and `chosen`: sentence embeddings after block ℓ, (N, D) with D = d_model
    T⁰, T                    `differences` before and after centring, (N, D)
    µ                        the mean of the rows of X⁻, which is projected away and not subtracted
    k, v₁ … vₖ               `rank`, and a subspace's `directions`: orthonormal rows, (k, D)
    P = Σ vᵢ vᵢᵀ             never built, as (I - P) W = W - Vᵀ (V W) with the vᵢ as rows of V
    W                        the MLP matrix that writes the residual stream, (D, d_ff)

How a text becomes an embedding, which the paper leaves open, is in `embeddings`. ProFS runs as written here; each of
its controls, in `methods.controls`, exchanges either the rows or the directions.
"""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor

from bench.core.errors import BenchError
from bench.methods.pairs.passages import PassagePairs
from bench.methods.projection.cross_validation import cross_validate
from bench.methods.projection.job import EditJob, EditPlan
from bench.methods.projection.screenot import screenot_plan
from bench.methods.projection.subspace import (
    Center,
    Subspace,
    center_direction,
    project_away,
    right_singular_vectors,
)
from bench.methods.projection.weights import WeightChange, edit_blocks

SPECTRUM = 20
"""Directions kept for later edits of the same embeddings, at the least, and singular values reported."""


def edit_weights(
    job: EditJob, before_edit: Callable[[EditPlan, Mapping[int, Subspace]], None]
) -> Mapping[str, WeightChange]:
    """Algorithm 1: find the directions in which rejected texts differ from chosen ones, project them out IN PLACE.

    Arguments:
        job: the model, its pairs, and how it is to be edited.
        before_edit: called once all is found and nothing is changed, for those who want to know.

    Returns:
        By the name of a matrix what became of it.

    Raises:
        BenchError: the pairs or the model do not allow it; the model is then as it was.
    """
    plan = choose_ranks_and_layers(job)  # the inputs k and L0 … L
    subspaces = find_subspaces(job, job.texts, plan)  # v₁ … vₖ of every ℓ, by equations 1 and 2
    before_edit(plan, subspaces)  # nothing that can fail is left to do
    return edit_blocks(job.anatomy, subspaces, job.method.weights, biases=job.method.edit_bias)  # (I - P) W, equation 3


def find_subspaces(job: EditJob, texts: PassagePairs, plan: EditPlan) -> dict[int, Subspace]:
    """The directions to remove from each block of `plan`, as many as it says; `texts` are all of the job's or others.

    Raises:
        BenchError: there are not as many directions, or an embedding is not finite.
    """
    rows = job.method.rows(texts, job.tokenizer, job.context)  # (xᵢ⁺, xᵢ⁻), i = 1 … N
    if plan.layers:
        job.activations.embed(rows.chosen + rows.rejected, plan.layers[-1] + 1)  # X⁺ and X⁻ of every ℓ, in one pass
    return {layer: _find_subspace(job, rows, layer, plan.ranks[layer]) for layer in plan.layers}


def unwanted_subspace(chosen: Tensor, rejected: Tensor, count: int, center: Center = "mean") -> Subspace:
    """Top directions along which rejected embeddings differ from chosen ones.

    Arguments:
        chosen, rejected: one layer's embeddings, (pairs, d_model), row i of one pairs with row i of the other.
        count: directions wanted; fewer come back where the differences span fewer.
        center: what of the chosen texts is projected out first: see `subspace.center_direction`.

    Raises:
        ValueError: the shapes differ.
    """
    if chosen.shape != rejected.shape:
        raise ValueError(f"chosen is {tuple(chosen.shape)} and rejected is {tuple(rejected.shape)}; they must agree")
    chosen, rejected = chosen.double(), rejected.double()
    differences = rejected - chosen  # T⁰ = X⁺ - X⁻
    differences = project_away(differences, center_direction(chosen, center))  # T = T⁰ (I - µµᵀ / ‖µ‖²), equation 1
    return right_singular_vectors(differences, count)  # v₁ … vₖ of U Σ Vᵀ = T, equation 2


def choose_ranks_and_layers(job: EditJob) -> EditPlan:
    """k and L0 … L: as given, by ScreeNOT as in appendix B.1, or by cross-validation; always by the labelled pairs.

    Raises:
        BenchError: ScreeNOT finds nothing, or every choice costs too much.
    """
    method, rows = job.method, job.labelled_rows
    choices = method.candidate_layers(len(job.anatomy.blocks))
    if method.searched or method.rank == "screenot":
        job.activations.embed(rows.chosen + rows.rejected, max(layers[-1] for layers in choices) + 1)
    find = partial(_shared_subspace, job)
    if method.rank == "screenot":
        plans = [screenot_plan(method, rows, layers, find) for layers in choices]
    else:
        plans = [EditPlan(dict.fromkeys(layers, rank)) for layers in choices for rank in method.candidate_ranks()]
    return cross_validate(job, plans, find) if method.searched else plans[0]


def _find_subspace(job: EditJob, rows: PassagePairs, layer: int, rank: int) -> Subspace:
    """Equations 1 and 2 for one block, or what a control puts in their place."""
    subspace = job.method.control_directions(job.activations, rows, layer, rank, job.context.seed)
    if subspace is None:
        subspace = _shared_subspace(job, rows, layer, rank)
    if len(subspace.directions) < rank:
        raise BenchError(
            f"in layer {layer} the {len(rows.chosen)} pairs differ along only {len(subspace.directions)} of the "
            f"{rank} directions that rank={rank} asks for; lower it, or give more distinct pairs"
        )
    return subspace.first(rank)


def _shared_subspace(job: EditJob, rows: PassagePairs, layer: int, count: int) -> Subspace:
    """At least `count` directions of a block where there are as many, found once for all edits of the same rows."""
    count, center = max(count, SPECTRUM), job.method.center
    return job.activations.shared(
        "profs subspace",
        *(layer, center, count, rows.identity),
        compute=lambda: unwanted_subspace(*job.activations.matrices(rows, layer), count, center),
    )
