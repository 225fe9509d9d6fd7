"""The stages of a command, expected from a pilot before its cells are known, and again once they are."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from bench.core.progress import Progress
from bench.core.values import BASE
from bench.harness.cells import Cell, plan_draws
from bench.harness.forecast import Forecast, ForecastWatcher, Stage
from bench.harness.resolved import Setting
from bench.harness.states import State
from bench.harness.workload import (
    Rate,
    Work,
    count_parameters,
    fetch_seconds,
    method_work,
    sampled_pairs,
    sampling_work,
    task_work,
)
from bench.leaderboard.records.record import Record
from bench.meters.pilot import PILOT_SECONDS, measure_speed
from bench.methods.base import AlignmentMethod
from bench.models.devices import resolve_batch_size
from bench.spec.run_spec import build_methods
from bench.tasks.preferences.draw import count_held_out
from bench.tasks.preferences.pool import PairPool

FETCH, PAIRS, COMPARE = "fetch the model", "make pairs", "compare with base"


class Alignment(NamedTuple):
    """What a cell's time depends on, besides its model and tasks."""

    cell: str
    """Id of the cell, or any name where those are not known yet."""
    name: str
    """The method's row name."""
    method: AlignmentMethod
    n_pairs: int | None
    """None where nobody knows before they are downloaded."""
    held_out: int

    @classmethod
    def of(cls, cell: Cell) -> Alignment:
        return cls(cell.id, cell.name, cell.method, cell.data_info.n_pairs, cell.data_info.held_out)


class Schedule:
    """A command's forecast, with what is expected of it. Measures nothing where nobody watches.

    Arguments:
        settings: one a model.
        progress: is given the forecast, where it can show one.
        pool: the pairs, where they lie in a file; None where they are known later.
    """

    def __init__(self, settings: Sequence[Setting], progress: Progress, pool: PairPool | None = None) -> None:
        self.forecast = Forecast()
        self._settings = settings
        self._pool = pool
        self._watcher = progress if isinstance(progress, ForecastWatcher) else None

    @property
    def is_watched(self) -> bool:
        """Whether anyone shows the forecast."""
        return self._watcher is not None

    def expect_all(self) -> None:
        """Expect what can be said of every model's cells before any of them is known by its content."""
        if self.is_watched and self.forecast.share is None:
            self._expect([stage for setting in self._settings for stage in stages_before(setting, self._pool)])

    def expect_cells(self, grid: Sequence[tuple[Setting, Sequence[Cell]]], finished: Mapping[str, Record]) -> None:
        """Expect the cells that are to do, judged by what those of `finished` took that are like them."""
        stages = []
        for setting, cells in grid:
            to_do = [Alignment.of(cell) for cell in cells if cell.id not in finished]
            if to_do and self.is_watched:
                stages += list(cell_stages(setting, to_do))
                self._learn(setting, cells, finished)
        if stages:
            self._expect(stages)

    def settle(self, cell: str, state: State) -> None:
        """Expect nothing more of a cell that failed or is done, wherever it ran."""
        if state in (State.done, State.failed):
            self.forecast.drop(cell)

    def _expect(self, stages: Sequence[Stage]) -> None:
        assert self._watcher is not None
        self.forecast.expect(stages)
        self._watcher.follow(self.forecast)

    def _learn(self, setting: Setting, cells: Sequence[Cell], finished: Mapping[str, Record]) -> None:
        for cell in cells:
            record = finished.get(cell.id)
            if record is None or record.provenance.get("platform") != platform.platform():
                continue
            align, *others = cell_stages(setting, [Alignment.of(cell)])
            measured = [(record.cost.align_seconds, [align])] if cell.draw else []
            for seconds, stages in [*measured, (record.cost.evaluate_seconds, others)]:
                expected = sum(stage.seconds or 0.0 for stage in stages)
                if expected and all(stage.seconds is not None for stage in stages):
                    for stage in stages:
                        self.forecast.learn_ratio(stage.what, seconds / expected)


def stages_before(
    setting: Setting, pool: PairPool | None = None, pilot_seconds: float = PILOT_SECONDS
) -> Iterator[Stage]:
    """A model's stages while its pairs, or the model itself, are yet to be had.

    Arguments:
        pool: the pairs, where it is the model alone that is missing.
        pilot_seconds: see `rate_of`.
    """
    source, spec = setting.model.source, setting.spec
    if source.missing():
        yield Stage(source.locator, FETCH, fetch_seconds(source), computes=False)
    if spec.pairs.source == "on-policy":
        work = sampling_work(setting, resolve_batch_size(spec.batch_size, setting.model.device))
        yield Stage(source.locator, PAIRS, _seconds(rate_of(setting, pilot_seconds), work, loads=1))
    total = sampled_pairs(setting) if pool is None else len(pool.pairs)
    held_out = count_held_out(spec.pairs.held_out, total)
    is_counted = pool is not None or spec.pairs.source == "on-policy"
    methods = build_methods(spec)
    draws = [draw for each in setting.specs for draw in plan_draws(each)]
    alignments = [Alignment(BASE, BASE, methods[BASE], 0, 0)]
    for number, draw in enumerate(dict.fromkeys(draws)):
        n_pairs = (total - held_out if is_counted else None) if draw.n is None else draw.n
        alignments += [
            Alignment(f"{name} {number}", name, method, n_pairs, held_out)
            for name, method in methods.items()
            if name != BASE
        ]
    yield from cell_stages(setting, alignments, pilot_seconds)


def cell_stages(
    setting: Setting, alignments: Sequence[Alignment], pilot_seconds: float = PILOT_SECONDS
) -> Iterator[Stage]:
    """What is done of each cell: alignment with loading, each task, and the comparison with the unaligned model.

    Arguments:
        pilot_seconds: see `rate_of`.
    """
    rate = rate_of(setting, pilot_seconds)
    batch_size = resolve_batch_size(setting.spec.batch_size, setting.model.device)
    works = {name: task_work(name, task, batch_size) for name, task in setting.tasks.items()}
    for cell, name, method, n_pairs, held_out in alignments:
        work: Work | None = Work()
        if name != BASE:
            work = None if n_pairs is None else method_work(method, n_pairs, held_out)
        yield Stage(cell, align_stage(name), _seconds(rate, work, loads=1))
        for task, both in works.items():
            yield Stage(cell, task, _seconds(rate, both and both[0]))
        if any(task.needs_base for task in setting.tasks.values()):
            against = sum((both[1] for both in works.values() if both), Work())
            yield Stage(cell, COMPARE, _seconds(rate, against, loads=name != BASE))


def _seconds(rate: Rate | None, work: Work | None, *, loads: int = 0) -> float | None:
    return None if rate is None or work is None else rate.seconds(work) + loads * rate.load_seconds


def align_stage(name: str) -> str:
    """What the alignment of a row of that name is called as a stage."""
    return "load base" if name == BASE else f"align {name}"


def rate_of(setting: Setting, pilot_seconds: float = PILOT_SECONDS) -> Rate | None:
    """How fast a model works here; None where its size is not known, or no pilot can run.

    The first call for a device, a dtype and a length of the pilot measures it.
    """
    parameters = count_parameters(setting.model.source)
    if parameters is None:
        return None
    try:
        speed = _speed(setting.model.device, setting.model.dtype, pilot_seconds)
    except RuntimeError:  # as where an accelerator has no memory left: the run itself will say so
        return None
    return Rate(parameters, speed, setting.model.dtype)


_speed = cache(measure_speed)
