"""What is said of an edit: how long it took, what became of every matrix, and what the directions mean."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bench.core.hashing import sha256_tensor
from bench.core.values import AlignmentReport, Effort
from bench.methods.pairs.passages import PassagePairs, read_passages
from bench.methods.projection.algorithm import SPECTRUM, find_subspaces
from bench.methods.projection.explanations import explain
from bench.methods.projection.job import EditJob, EditPlan
from bench.methods.projection.subspace import Subspace
from bench.methods.projection.weights import WeightChange, edited_matrices, edited_parameters
from bench.methods.shared import OffTheBill


class EditReport:
    """Watches one edit from before its first step; hashes and explanations only where the context asks for them."""

    def __init__(self, job: EditJob) -> None:
        self._job = job
        self._diagnostics = OffTheBill(job.context.shared)
        self._times = [time.perf_counter()]

    def before_edit(self, plan: EditPlan, subspaces: Mapping[int, Subspace]) -> None:
        """Look at what will be gone once the weights are edited."""
        self._times.append(time.perf_counter())
        self._plan, self._subspaces = plan, subspaces
        self._effort = Effort(tokens_forward=self._job.activations.tokens + plan.tokens_forward or None)
        with self._diagnostics:
            self._clean = self._clean_subspaces()
            self._before = self._hashes()
        self._times.append(time.perf_counter())

    def finish(self, changes: Mapping[str, WeightChange]) -> AlignmentReport:
        """The report of an edit just made; `changes` says by a matrix's name what became of it."""
        job, (started, found, ready), edited = self._job, self._times, time.perf_counter()
        with self._diagnostics:
            after = self._hashes()
            explanations = self._explanations()
        layers: list[dict[str, Any]] = []
        changed: list[str] = []
        for layer, subspace in self._subspaces.items():
            matrices = []
            for matrix in edited_matrices(job.anatomy, layer, job.method.weights):
                changed += edited_parameters(matrix, bias=job.method.edit_bias)
                hashes = {"sha256_before": self._before.get(matrix.name), "sha256_after": after.get(matrix.name)}
                change = asdict(changes[matrix.name])
                matrices.append({"name": f"{matrix.name}.weight", **change, **(hashes if after else {})})
            layers.append({"layer": layer, **_spectrum(subspace), "matrices": matrices, **explanations.get(layer, {})})
        details = {
            "ranks": {str(layer): rank for layer, rank in self._plan.ranks.items()},
            "selection": self._plan.details,
            "n_pairs": len(job.labelled_rows.chosen),
            **_text_counts(job.texts, job.method.max_length),
            "n_embedded": job.activations.n_embedded,
            "find_seconds": found - started,
            "edit_seconds": edited - ready,
            "note": job.anatomy.family.note,
            "layers": layers,
        }
        return AlignmentReport(
            changed=tuple(changed),
            details=details,
            flags=(*(("identical-pairs",) if job.texts.n_identical else ()), *self._plan.flags),
            diagnostic_seconds=self._diagnostics.seconds,
            effort=self._effort,
        )

    def _hashes(self) -> dict[str, str]:
        """Of every matrix that is edited, by its name."""
        return {
            matrix.name: sha256_tensor(matrix.weight)
            for layer in self._subspaces
            for matrix in edited_matrices(self._job.anatomy, layer, self._job.method.weights)
            if self._job.context.explain
        }

    def _clean_subspaces(self) -> dict[int, Subspace]:
        """What the same edit would remove without noise; empty where there was none, or nothing is known of it."""
        job, clean = self._job, self._job.context.clean
        if not job.context.explain or not clean or list(clean) == list(job.pairs):
            return {}
        return find_subspaces(
            job, read_passages(job.tokenizer, clean, job.method.pooling, job.method.max_length), self._plan
        )

    def _explanations(self) -> dict[int, dict[str, Any]]:
        job = self._job
        if not job.context.explain:
            return {}
        return explain(job.model, job.tokenizer, job.anatomy, self._subspaces, self._clean)


def _spectrum(subspace: Subspace) -> dict[str, Any]:
    rank = len(subspace.directions)
    return {
        "rank": rank,
        "singular_values": subspace.singular_values[:SPECTRUM].tolist(),
        "energy_removed": subspace.energy(rank) if len(subspace.singular_values) else None,
    }


def _text_counts(texts: PassagePairs, max_length: int) -> dict[str, Any]:
    lengths = [len(passage.ids) for passage in texts.chosen + texts.rejected]
    return {
        "n_identical": texts.n_identical,
        "mean_tokens": sum(lengths) / len(lengths),
        "n_at_max_length": sum(length == max_length for length in lengths),
    }
