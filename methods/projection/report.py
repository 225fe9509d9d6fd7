"""What is said of an edit: how long it took, what became of every matrix, and what the directions mean."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from bench.core.hashing import sha256_tensor
from bench.core.reports import LayerReport, MatrixReport, SubspaceReport
from bench.core.values import AlignmentReport, Effort
from bench.methods.pairs.passages import read_passages
from bench.methods.projection.algorithm import SPECTRUM, find_subspaces
from bench.methods.projection.anatomy import Matrix
from bench.methods.projection.contributions import stream_shares
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
            self._shares_before, self._norm_note = self._stream_shares()
        self._times.append(time.perf_counter())

    def finish(self, changes: Mapping[str, WeightChange]) -> AlignmentReport:
        """The report of an edit just made; `changes` says by a matrix's name what became of it."""
        job, (started, found, ready), edited = self._job, self._times, time.perf_counter()
        with self._diagnostics:
            hashes = {
                name: {"sha256_before": before, "sha256_after": after}
                for (name, before), after in zip(self._before.items(), self._hashes().values(), strict=True)
            }
            explanations: Mapping[int, Mapping[str, Any]] = (
                explain(job.model, job.tokenizer, job.anatomy, self._subspaces, self._clean)
                if job.context.explain
                else {}
            )
            shares_after, _ = self._stream_shares()
        layers = [
            LayerReport(
                layer=layer,
                rank=(rank := len(subspace.directions)),
                singular_values=subspace.singular_values[:SPECTRUM].tolist(),
                energy_removed=subspace.energy(rank) if len(subspace.singular_values) else None,
                matrices=[
                    MatrixReport(
                        name=f"{matrix.name}.weight", **asdict(changes[matrix.name]), **hashes.get(matrix.name, {})
                    )
                    for matrix in edited_matrices(job.anatomy, layer, job.method.weights)
                ],
                stream_share_before=self._shares_before.get(layer),
                stream_share_after=shares_after.get(layer),
                **explanations.get(layer, {}),
            )
            for layer, subspace in self._subspaces.items()
        ]
        changed = [name for matrix in self._matrices() for name in edited_parameters(matrix, bias=job.method.edit_bias)]
        lengths = [len(passage.ids) for passage in job.texts.chosen + job.texts.rejected]
        report = SubspaceReport(
            ranks={str(layer): rank for layer, rank in self._plan.ranks.items()},
            selection=self._plan.details,
            n_pairs=len(job.labelled_rows.chosen),
            n_identical=job.texts.n_identical,
            mean_tokens=sum(lengths) / len(lengths),
            n_at_max_length=lengths.count(job.method.max_length),
            n_embedded=job.activations.n_embedded,
            find_seconds=found - started,
            edit_seconds=edited - ready,
            note="; ".join(dict.fromkeys(note for note in (job.anatomy.family.note, self._norm_note) if note)),
            layers=layers,
        )
        return AlignmentReport(
            changed=tuple(changed),
            details=report.to_json(),
            flags=(*(("identical-pairs",) if job.texts.n_identical else ()), *self._plan.flags),
            diagnostic_seconds=self._diagnostics.seconds,
            effort=self._effort,
        )

    def _matrices(self) -> Iterator[Matrix]:
        for layer in self._subspaces:
            yield from edited_matrices(self._job.anatomy, layer, self._job.method.weights)

    def _stream_shares(self) -> tuple[dict[int, float], str]:
        if not self._job.context.explain:
            return {}, ""
        return stream_shares(self._job.anatomy, self._subspaces, self._job.texts.rejected)

    def _hashes(self) -> dict[str, str]:
        return {matrix.name: sha256_tensor(matrix.weight) for matrix in self._matrices() if self._job.context.explain}

    def _clean_subspaces(self) -> dict[int, Subspace]:
        """What the same edit would remove without noise; empty where there was none, or nothing is known of it."""
        job, clean = self._job, self._job.context.clean
        if not job.context.explain or not clean or list(clean) == list(job.pairs):
            return {}
        texts = read_passages(job.tokenizer, clean, job.method.pooling, job.method.max_length)
        return find_subspaces(job, texts, self._plan)
