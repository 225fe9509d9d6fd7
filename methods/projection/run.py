"""What a projection edit does, step by step: choose ranks and layers, find directions, edit, explain."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError
from bench.core.hashing import sha256_json, sha256_tensor
from bench.core.reports import LayerReport, MatrixReport, SubspaceReport
from bench.core.values import AlignmentReport, Effort, PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.pairs.passages import PassagePairs, read_passages
from bench.methods.projection.activations import SPECTRUM, Activations
from bench.methods.projection.anatomy import Matrix, locate
from bench.methods.projection.explanations import explain
from bench.methods.projection.job import EditJob, EditPlan
from bench.methods.projection.settings import ProjectionEdit
from bench.methods.projection.subspace import Subspace
from bench.methods.projection.weights import edit_matrix, edited_matrices
from bench.methods.shared import OffTheBill

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def align_by_projection(
    method: ProjectionEdit,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[PreferencePair],
    context: AlignmentContext,
) -> AlignmentReport:
    """Edit `model` IN PLACE as `method` says.

    Raises:
        BenchError: the pairs or the model do not allow it; the model is then as it was.
    """
    anatomy = locate(model)
    edited_matrices(anatomy, 0, method.weights)
    content = sha256_json([[pair.prompt, pair.chosen, pair.rejected] for pair in pairs])
    texts = context.shared.get(
        (context.model_fingerprint, "profs passages", method.pooling, method.max_length, content),
        lambda: read_passages(tokenizer, pairs, method.pooling, method.max_length),
    )
    if texts.n_identical == len(pairs):
        raise BenchError(f"in all {len(pairs)} pairs chosen and rejected are the same; nothing tells them apart")
    started = time.perf_counter()
    activations = Activations(anatomy, tokenizer, context, batch_size=method.batch_size, last_block=method.last_block)
    job = EditJob(method, model, tokenizer, pairs, texts, activations, context)
    plan = make_plan(job)
    # Everything that can fail comes before the first weight is touched.
    subspaces = find_subspaces(job, texts, plan)
    found = time.perf_counter()
    effort = Effort(tokens_forward=activations.tokens + plan.tokens_forward or None)
    diagnostics = OffTheBill(context.shared)
    with diagnostics:
        clean = _clean_subspaces(job, plan) if context.explain else {}
    started_editing, aside = time.perf_counter(), diagnostics.seconds
    layers, changed = _edit(job, subspaces, diagnostics)
    edit_seconds = time.perf_counter() - started_editing - (diagnostics.seconds - aside)
    if context.explain:
        with diagnostics:
            explanations = explain(model, tokenizer, anatomy, subspaces, clean)
        layers = [LayerReport.model_validate({**layer.to_json(), **explanations[layer.layer]}) for layer in layers]
    report = SubspaceReport(
        ranks={str(layer): rank for layer, rank in plan.ranks.items()},
        selection=plan.details,
        n_pairs=len(job.labelled_rows.chosen),
        **_text_counts(texts, method.max_length),
        n_embedded=activations.n_embedded,
        find_seconds=found - started,
        edit_seconds=edit_seconds,
        note=anatomy.family.note,
        layers=layers,
    )
    flags = (*(("identical-pairs",) if texts.n_identical else ()), *plan.flags)
    return AlignmentReport(
        changed=tuple(changed),
        details=report.to_json(),
        flags=flags,
        diagnostic_seconds=diagnostics.seconds,
        effort=effort,
    )


def make_plan(job: EditJob) -> EditPlan:
    """Ranks and layers: as given, or chosen by ScreeNOT or cross-validation, always from the labelled pairs."""
    method, rows = job.method, job.labelled_rows
    candidates = method.candidate_layers(len(job.anatomy.blocks))
    searched = "cv" in (method.rank, method.layers)
    if searched or method.rank == "screenot":
        job.activations.embed(rows.chosen + rows.rejected, max(layers[-1] for layers in candidates) + 1)
    if method.rank == "screenot":
        from bench.methods.projection.screenot import screenot_plan

        plans = [screenot_plan(job, layers) for layers in candidates]
    else:
        plans = [EditPlan(dict.fromkeys(layers, rank)) for layers in candidates for rank in method.candidate_ranks()]
    if not searched:
        return plans[0]
    from bench.methods.projection.cross_validation import cross_validate

    return cross_validate(job, plans)


def find_subspaces(job: EditJob, texts: PassagePairs, plan: EditPlan) -> dict[int, Subspace]:
    """The directions that the method removes from each block of `plan`, as many as its rank says.

    Arguments:
        job: method, model and context.
        texts: the pairs, all of the job's or others.
        plan: blocks and ranks.

    Raises:
        BenchError: there are not as many directions.
    """
    rows = job.method.rows(texts, job.tokenizer, job.context)
    if plan.layers:
        job.activations.embed(rows.chosen + rows.rejected, plan.layers[-1] + 1)
    found = {}
    for layer in plan.layers:
        rank = plan.ranks[layer]
        subspace = job.method.find(job.activations, rows, layer, rank, job.context.seed)
        if len(subspace.directions) < rank:
            raise BenchError(
                f"in layer {layer} the {len(rows.chosen)} pairs differ along only {len(subspace.directions)} of the "
                f"{rank} directions that rank={rank} asks for; lower it, or give more distinct pairs"
            )
        found[layer] = subspace.first(rank)
    return found


def _clean_subspaces(job: EditJob, plan: EditPlan) -> dict[int, Subspace]:
    """What the same edit would remove without noise; empty where there was none, or nothing is known of it."""
    clean = job.context.clean
    if not clean or list(clean) == list(job.pairs):
        return {}
    texts = read_passages(job.tokenizer, clean, job.method.pooling, job.method.max_length)
    return find_subspaces(job, texts, plan)


def _edit(
    job: EditJob, subspaces: Mapping[int, Subspace], diagnostics: OffTheBill
) -> tuple[list[LayerReport], list[str]]:
    """Edit every block IN PLACE; what became of each, and the names of the parameters changed."""
    layers: list[LayerReport] = []
    changed: list[str] = []
    for layer, subspace in subspaces.items():
        matrices = []
        for matrix in edited_matrices(job.anatomy, layer, job.method.weights):
            before = _hashes(job, matrix, "sha256_before", diagnostics)
            change, names = edit_matrix(matrix, subspace.directions, bias=job.method.edit_bias)
            after = _hashes(job, matrix, "sha256_after", diagnostics)
            changed += names
            matrices.append(MatrixReport(name=f"{matrix.name}.weight", **asdict(change), **before, **after))
        layers.append(LayerReport(layer=layer, **_spectrum(subspace), matrices=matrices))
    return layers, changed


def _hashes(job: EditJob, matrix: Matrix, name: str, diagnostics: OffTheBill) -> dict[str, str]:
    if not job.context.explain:
        return {}
    with diagnostics:
        return {name: sha256_tensor(matrix.weight)}


def _spectrum(subspace: Subspace) -> dict[str, Any]:
    rank = len(subspace.directions)
    found = len(subspace.singular_values) > 0
    return {
        "rank": rank,
        "singular_values": subspace.singular_values[:SPECTRUM].tolist(),
        "energy_removed": subspace.energy(rank) if found else None,
    }


def _text_counts(texts: PassagePairs, max_length: int) -> dict[str, Any]:
    lengths = [len(passage.ids) for passage in texts.chosen + texts.rejected]
    return {
        "n_identical": texts.n_identical,
        "mean_tokens": sum(lengths) / len(lengths),
        "n_at_max_length": sum(length == max_length for length in lengths),
    }
