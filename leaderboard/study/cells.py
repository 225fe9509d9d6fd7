"""The data behind degradation curves: what each method's cells measured, by noise model, rate and number of pairs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from bench.core.hashing import sha256_json
from bench.core.values import BASE, Metric, Value
from bench.leaderboard.board.build import make_columns
from bench.leaderboard.board.degenerate import INCOMPLETE, unchanged, warnings_of
from bench.leaderboard.board.extras import extras
from bench.leaderboard.board.pairing import is_exponential, make_strata, mean_of, minus
from bench.leaderboard.board.rows import newest_metrics
from bench.leaderboard.board.scores import metric_score
from bench.leaderboard.board.values import Column
from bench.leaderboard.records.conditions import condition_of
from bench.leaderboard.records.labels import distinctions, joined, pool_names
from bench.leaderboard.records.record import Record
from bench.methods.labels import method_label


class CurvePoint(NamedTuple):
    """Where a cell stands in a study, but for its seed."""

    method: str
    """Its name, and what tells it from others of that name."""
    noise: str | None
    """Noise model; None at rate 0, where none does anything and all share their cells."""
    rate: float
    n_pairs: int


class Point(Value):
    """One metric at one point, over the seeds that were run there."""

    by_seed: Mapping[int, float]
    """What each seed measured; at least one."""
    value: float
    ci95: tuple[float, float] | None
    """Over items, and over seeds where there are several; None where items show no spread, or seeds rest on others."""
    change: float | None
    """Against base on the same items: a difference, or a share of base's where the column's changes are relative."""
    change_ci95: tuple[float, float] | None
    change_by_seed: Mapping[int, float]
    """Each seed's own change; empty where there is none."""
    n: int
    """Items."""
    note: str | None
    """Why there is no change where base was measured."""
    degenerate: tuple[str, ...] = ()
    """Why the value has no merit, such as `looping`."""

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(self.by_seed)


@dataclass(frozen=True)
class StudyCells:
    """Comparable cells of one model, each with its records by seed."""

    columns: Mapping[str, Column]
    """By metric, in the order in which metrics are shown."""
    cells: Mapping[CurvePoint, Mapping[int, Record]]
    """In order: by method, noise model, number of pairs, rate."""
    base: Mapping[str, Metric]
    """The unaligned model's metrics; empty where it was not measured."""

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(cell.method for cell in self.cells))

    @property
    def noises(self) -> list[str]:
        """Noise models that corrupted anything."""
        return list(dict.fromkeys(cell.noise for cell in self.cells if cell.noise is not None))

    @property
    def sizes(self) -> list[int]:
        return sorted({cell.n_pairs for cell in self.cells})

    @property
    def rates(self) -> list[float]:
        return sorted({cell.rate for cell in self.cells})

    @property
    def seeds(self) -> list[int]:
        return sorted({seed for by_seed in self.cells.values() for seed in by_seed})

    @cached_property
    def base_points(self) -> Mapping[str, Point]:
        """The unaligned model's own values, by metric."""
        return {name: point for name, metric in self.base.items() if (point := _point({0: metric}, None)) is not None}

    @cached_property
    def points(self) -> Mapping[tuple[CurvePoint, str], Point]:
        """Every cell's metrics with something measured."""
        return {
            (cell, metric): point
            for cell, by_seed in self.cells.items()
            for metric in self.columns
            if (point := self._cell_point(by_seed, metric)) is not None
        }

    def _cell_point(self, by_seed: Mapping[int, Record], metric: str) -> Point | None:
        """With what is wrong of the cell as a whole: seeds that were not measured, or a method that changed nothing."""
        point = _point(metrics_by_seed(by_seed, metric), self.base.get(metric))
        if point is None:
            return None
        lacking = [INCOMPLETE] * (set(point.by_seed) != self._seeds_of[metric])
        reasons = dict.fromkeys([*point.degenerate, *lacking, *unchanged(by_seed.values())])
        return point.model_copy(update={"degenerate": tuple(reasons)})

    @cached_property
    def _seeds_of(self) -> Mapping[str, set[int]]:
        """Under which seeds any cell was measured, by metric."""
        return {
            metric: {seed for by_seed in self.cells.values() for seed in by_seed if metric in by_seed[seed].metrics}
            for metric in self.columns
        }

    def point(self, cell: CurvePoint | None, metric: str) -> Point | None:
        """One metric at one point, or the unaligned model's; None where it was not measured."""
        return self.base_points.get(metric) if cell is None else self.points.get((cell, metric))

    def over_rates(self, method: str, noise: str, n_pairs: int) -> list[CurvePoint]:
        """Places of one curve over noise, from rate 0 on where that was run."""
        wanted = [p for p in self.cells if p.method == method and p.n_pairs == n_pairs and p.noise in (None, noise)]
        return sorted(wanted, key=lambda cell: cell.rate)

    def over_sizes(self, method: str, noise: str | None, rate: float) -> list[CurvePoint]:
        """Places of one curve over numbers of pairs."""
        wanted = [p for p in self.cells if p.method == method and p.noise == noise and p.rate == rate]
        return sorted(wanted, key=lambda cell: cell.n_pairs)

    def noise_facets(self) -> list[tuple[str, int]]:
        """Noise models and numbers of pairs under which some method has more than one rate."""
        return [
            (noise, size)
            for noise in self.noises
            for size in self.sizes
            if any(len(self.over_rates(method, noise, size)) > 1 for method in self.methods)
        ]

    def size_facets(self) -> list[tuple[str | None, float]]:
        """Noise models and rates under which some method has more than one number of pairs."""
        settings = sorted({(p.noise or "", p.rate) for p in self.cells}, key=lambda setting: (setting[1], setting[0]))
        return [
            (noise or None, rate)
            for noise, rate in settings
            if any(len(self.over_sizes(method, noise or None, rate)) > 1 for method in self.methods)
        ]

    def gaps(self) -> list[tuple[CurvePoint, int]]:
        """Places and seeds that the grid of what was run lacks: every method × noise × size × seed that others have."""
        settings = sorted({(p.noise or "", p.rate, p.n_pairs) for p in self.cells})
        wanted = [CurvePoint(method, noise or None, rate, n) for method in self.methods for noise, rate, n in settings]
        return [(cell, seed) for cell in wanted for seed in self.seeds if seed not in self.cells.get(cell, {})]


def study_cells(history: Sequence[Record]) -> StudyCells:
    """Arrange the records of one table (`bench.leaderboard.board.build.comparable_groups`).

    Arguments:
        history: oldest first; where several measured the same cell, the newest counts.
    """
    aligned = [record for record in history if record.method.name != BASE]
    labels = _labels(aligned)
    cells: dict[CurvePoint, dict[int, Record]] = {}
    for record in aligned:
        given = condition_of(record)
        assert given is not None  # as it is no base
        cell = CurvePoint(labels[_identity(record)], given.noise_model, given.noise_rate, given.n_pairs)
        cells.setdefault(cell, {})[record.data.seed] = record
    ordered = sorted(cells, key=lambda p: (p.method, p.noise or "", p.n_pairs, p.rate))
    return StudyCells(
        columns=make_columns(history),
        cells={cell: dict(sorted(cells[cell].items())) for cell in ordered},
        base=newest_metrics(record for record in history if record.method.name == BASE),
    )


def metrics_by_seed(by_seed: Mapping[int, Record], metric: str) -> dict[int, Metric]:
    """One metric of a cell's records, where there is anything measured."""
    metrics = {seed: record.metrics.get(metric) for seed, record in by_seed.items()}
    return {seed: found for seed, found in metrics.items() if found is not None and found.value is not None}


def _identity(record: Record) -> str:
    """What makes two cells the same method on the same pool of pairs."""
    method, data = record.method, record.data
    return sha256_json([method.name, dict(method.config), method.code, data.pool_sha256, data.held_out])


def _labels(records: Sequence[Record]) -> dict[str, str]:
    """For each identity the method's name, with what tells it from others of the name."""
    newest = {_identity(record): record for record in records}
    pools = pool_names(newest.values())
    labels: dict[str, str] = {}
    for name in {record.method.name for record in newest.values()}:
        alike = {key: record for key, record in newest.items() if record.method.name == name}
        settings = distinctions([_settings(record, pools) for record in alike.values()])
        labels |= {key: f"{name} ({joined(own)})" if own else name for key, own in zip(alike, settings, strict=True)}
    return labels


def _settings(record: Record, pools: Mapping[str, str]) -> dict[str, object]:
    data = record.data
    origin = {"pairs": pools[data.pool_sha256], "pairs sha": data.pool_sha256, "held out": data.held_out}
    return {**record.method.config, **origin, "code": record.method.code}


def _point(by_seed: Mapping[int, Metric], base: Metric | None) -> Point | None:
    """What a board says of the same metrics, with each seed's own change."""
    values = {seed: metric.value for seed, metric in by_seed.items() if metric.value is not None}
    if not values:
        return None
    score = metric_score(by_seed, base)
    assert score.value is not None
    changes: dict[int, float] = {}
    if score.change and base:
        for seed in values:
            mean = mean_of(minus(make_strata([by_seed[seed]]), make_strata([base])))
            changes[seed] = math.expm1(mean) if is_exponential(base) else mean
    return Point(
        by_seed=values,
        value=score.value,
        ci95=score.ci95,
        change=score.change.value if score.change else None,
        change_ci95=score.change.ci95 if score.change else None,
        change_by_seed=changes,
        n=score.n,
        note=f"not compared with base: {score.unpaired}" if score.unpaired else None,
        degenerate=tuple(warnings_of(by_seed.values(), {} if base is None else extras([base]), is_base=base is None)),
    )


def pairs_text(n_pairs: int) -> str:
    """`164 pairs`."""
    return f"{n_pairs:,} pairs"


def rate_label(rate: float) -> str:
    """`30 %`, however the rate's digits end."""
    return f"{100 * rate:.4g} %"


def noise_text(noise: str | None, rate: float) -> str:
    """`flip 30 %`, or `no noise`."""
    return f"{noise} {rate_label(rate)}" if noise else "no noise"


def cell_text(cell: CurvePoint, seed: int | None = None) -> str:
    """`dpo, flip 30 %, 164 pairs, seed 2`."""
    text = f"{method_label(cell.method)}, {noise_text(cell.noise, cell.rate)}, {pairs_text(cell.n_pairs)}"
    return text if seed is None else f"{text}, seed {seed}"
