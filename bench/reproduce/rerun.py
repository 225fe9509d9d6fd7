"""Runs a figure of the ProFS paper and sets our values beside the published ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from bench.core.errors import UsageError
from bench.core.files import write_json
from bench.core.progress import Progress
from bench.core.values import Metric
from bench.harness.directory import RunDirectory
from bench.harness.run import run_study
from bench.harness.states import GridCell
from bench.leaderboard.board.scores import metric_score
from bench.leaderboard.published.parity import (
    FigureCell,
    ParityFinding,
    ParityVerdict,
    Sample,
    Samples,
    assess,
    compare_published,
)
from bench.leaderboard.records.record import Record
from bench.reproduce.paper import OVERLAP, OVERLAP_RANK, WHERE_TO_PUT, Design, missing_files


@dataclass(frozen=True)
class Reproduction:
    """Our values beside the published ones."""

    design: Design
    findings: Sequence[ParityFinding]
    failed: Mapping[str, str]
    """Cell id to message."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        cited = {finding.source for finding in self.findings}
        quirks = {id for finding in self.findings for id in finding.quirks}
        published = self.design.published
        return {
            "figure": self.design.figure,
            "model": self.design.study.spec.model,
            "published_of": self.design.model,
            "scale": self.design.scale,
            "verdicts_withheld": self.design.withheld,
            "findings": [finding.to_json() for finding in self.findings],
            "sources": {name: text for name, text in published.sources.items() if name in cited},
            "quirks": {quirk.id: quirk.text for quirk in published.quirks if quirk.id in quirks},
        }


def rerun_figure(design: Design, progress: Progress) -> Reproduction:
    """Run what a figure needs, finished cells excepted, and write what was found beside its records.

    Raises:
        UsageError: a file that has to be downloaded by hand is missing (says where it is), or the study cannot be done.
        BenchError: something that every cell needs cannot be had.
    """
    absent = missing_files(design.study)
    if absent:
        raise UsageError(f"{'; '.join(absent)}; {WHERE_TO_PUT}")
    result = _overlap(design, progress) if design.figure == OVERLAP else _cells(design, progress)
    write_json(result_path(design), result.to_json())
    return result


def result_path(design: Design) -> Path:
    """Where the comparison is written."""
    return design.study.out / "reproduction.json"


def measured(cells: Sequence[GridCell], directory: RunDirectory, metrics: Sequence[str], *, sized: bool) -> Samples:
    """What a directory's records say of some cells, by cell_key and metric, or why they say nothing.

    Arguments:
        cells: those that the study has.
        metrics: names wanted; `capability.boolq` is one task of an average.
        sized: whether the number of pairs is part of a cell_key.
    """
    finished = directory.finished()
    groups: dict[FigureCell, list[GridCell]] = {}
    for cell in cells:
        cell_key = FigureCell(cell.method, cell.n_pairs if sized and cell.n_pairs else None, cell.rate)
        groups.setdefault(cell_key, []).append(cell)
    samples: dict[tuple[FigureCell, str], Sample | str] = {}
    for cell_key, group in groups.items():
        records = {cell.seed: finished[cell.id] for cell in group if cell.id in finished}
        failures = [message for cell in group if (message := directory.failure(cell.id)) is not None]
        reason = f"failed: {failures[0]}" if failures else "not run"
        for metric in metrics:
            samples[cell_key, metric] = sample(records, metric) if records else reason
    return samples


def sample(records: Mapping[int, Record], metric: str) -> Sample | str:
    """One metric of one row over its seeds, in the units of the published numbers; or why there is no number.

    Arguments:
        records: by seed, at least one.
    """
    parts = {seed: part for seed, record in records.items() if (part := _metric(record, metric)) is not None}
    values = {seed: part.value * _factor(metric, part) for seed, part in parts.items() if part.value is not None}
    if not parts:
        return "this run does not measure it"
    if not values:
        return "the measurement gave no number"
    scored = {seed: parts[seed] for seed in values}
    interval, factor = metric_score(scored, None).ci95, _factor(metric, next(iter(scored.values())))
    ci95 = None if interval is None else (interval[0] * factor, interval[1] * factor)
    return Sample(fmean(values.values()), stdev(values.values()) if len(values) > 1 else None, len(values), ci95)


def _cells(design: Design, progress: Progress) -> Reproduction:
    directory = RunDirectory(design.study.out)
    cells: dict[str, GridCell] = {}
    failed: dict[str, str] = {}
    for part in design.parts():
        failed |= run_study(part, progress=progress).failed
        cells |= {cell.id: cell for cell in directory.cells()}
    metrics = list(dict.fromkeys(name for table in design.tables for cell in table.cells for name in cell.values))
    sized = design.scale == "full" or design.figure == "sizes"
    samples = measured(list(cells.values()), directory, metrics, sized=sized)
    findings = assess(design.published, design.tables, samples, withheld=design.withheld)
    return Reproduction(design, findings, failed)


def _metric(record: Record, name: str) -> Metric | None:
    task, _, part = name.partition(".")
    metric = record.metrics.get(task)
    return metric if metric is None or not part else (metric.tasks or {}).get(part)


def _factor(name: str, metric: Metric) -> float:
    """To per cent, where the paper has that and the record a share."""
    share = metric.unit.startswith("accuracy") or (name == "toxicity" and not metric.unit.endswith("× 100"))
    return 100.0 if share else 1.0


def _overlap(design: Design, progress: Progress) -> Reproduction:
    """The shares of one subspace in DPO's first gradient for every seed, block by block."""
    from bench.analyse.overlap import analyse_subspaces

    spec, published = design.study.spec, design.published.overlap
    shares: dict[tuple[int, int], list[float]] = {}
    for seed in spec.seeds:
        out = spec.out / f"seed-{seed}"
        report = analyse_subspaces(
            spec, list(published.shares), rank=OVERLAP_RANK, seed=seed, out=out, progress=progress
        )
        for row in report.rows:
            shares.setdefault((row.n_pairs, row.layer), []).append(row.same)
    return Reproduction(design, overlap_findings(design, shares), {})


def overlap_findings(design: Design, shares: Mapping[tuple[int, int], Sequence[float]]) -> list[ParityFinding]:
    """A finding for each number of pairs and block, or, where models differ, for each mean over blocks.

    Arguments:
        shares: by number of pairs and block, one for each seed; for every published number of pairs.
    """
    findings = []
    for n_pairs, published in design.published.overlap.shares.items():
        if design.withheld is None:
            findings += [
                _share_finding(design, f"block {layer}", n_pairs, [share], shares[n_pairs, layer])
                for layer, share in enumerate(published)
            ]
        else:
            blocks = [draws for (size, _), draws in shares.items() if size == n_pairs]
            means = [fmean(draw) for draw in zip(*blocks, strict=True)]  # one value a seed
            findings.append(_share_finding(design, "mean over blocks", n_pairs, published, means))
    return findings


def _share_finding(
    design: Design, metric: str, n_pairs: int, shares: Sequence[float], draws: Sequence[float]
) -> ParityFinding:
    published = design.published.overlap
    own = Sample(fmean(draws), stdev(draws) if len(draws) > 1 else None, len(draws))
    reported = Sample(fmean(shares), None, 1)
    about = (FigureCell("profs", n_pairs, 0.0), metric, published.source, published.where, reported, own)
    if design.withheld is not None:
        return ParityFinding(*about, ParityVerdict.undecided, None, design.withheld, ())
    result = compare_published(own, reported, rounding=published.rounding)
    quirks: tuple[str, ...] = ()
    if result.verdict is ParityVerdict.different:
        quirks = design.published.explaining(OVERLAP, design.model, published.source, row="profs", metric=metric)
    return ParityFinding(*about, result.verdict, result.margin, result.why, quirks)
