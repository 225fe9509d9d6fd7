"""What a study would do, take and be able to tell, said before anything is done."""

import platform
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.core.progress import Notes, Progress
from bench.harness.cells import Cell, without_code
from bench.harness.directory import RunDirectory
from bench.harness.disk import DiskUse, disk_use
from bench.harness.forecast import Stage
from bench.harness.resolved import (
    Setting,
    check_methods,
    count_combinations,
    list_downloads,
    make_cells,
    pool_at_hand,
    read_file_pairs,
    resolve_setting,
    settle_tasks,
    split_notes,
)
from bench.harness.schedule import Alignment, cell_stages, rate_of, stages_before
from bench.harness.states import GridCell, Took, seconds_left
from bench.harness.workload import SPREAD, result_bytes, task_items
from bench.leaderboard.board.effects import shipped_effects, smallest_effects
from bench.leaderboard.records.layout import GENERATIONS
from bench.leaderboard.records.record import Record
from bench.meters.pilot import PLAN_PILOT_SECONDS
from bench.models.devices import device_kind
from bench.spec.run_spec import needs_pairs
from bench.spec.study import Study
from bench.tasks.preferences.pool import PairPool


@dataclass(frozen=True)
class RunEstimate:
    """What is left to do."""

    seconds: float | None
    """Without what is in `unknown`; None where nothing is known."""
    bytes: float
    """Of records and texts, on disk."""
    basis: str
    """What the estimates rest on, in words."""
    spread: float | None = None
    """A factor: what is estimated may take so many times as long, or as little; None where it was not judged."""
    slowdown: float = 1.0
    """By what factor other work on the machine slowed the pilot: without it, it may take so much less."""
    unknown: Sequence[str] = ()
    """Kinds of stages of which nothing is known."""


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    cells: Sequence[Cell]
    """Empty where the pairs are yet to be made: cells are known by their content."""
    combinations: int
    """How many cells there will be."""
    finished: frozenset[str]
    downloads: Sequence[str]
    pairs_ready: bool
    estimate: RunEstimate
    """Of the cells that are to do, and of what they need first where they are not known yet."""
    disk: DiskUse
    notes: Sequence[str] = ()
    """One line for each thing that somebody should know before: how the pairs were read and split, and what is measured
    though nobody named it."""
    smallest_effects: Sequence[str] = ()
    """What can be told from chance, judged by what is finished or, where nothing is, by the shipped studies."""


def plan_study(study: Study) -> Plan:
    """Check a study and say what it would do; nothing is fetched, built or run.

    Raises:
        UsageError: the study cannot be done as asked, as far as that can be known.
    """
    settings = [resolve_setting(specs) for specs in study.specs()]
    directory = RunDirectory(study.out)
    directory.check()
    finished = directory.finished()
    notes = Notes()
    looks = [_look(setting, notes) for setting in settings]
    cells = [cell for look in looks for cell in look.cells or ()]
    ready = all(look.cells is not None for look in looks)
    downloads = list(dict.fromkeys(line for look in looks for line in look.downloads))
    to_do = [cell for cell in cells if cell.id not in finished]
    for setting, look in zip(settings, looks, strict=True):
        if not look.downloads and (look.cells is None or any(cell.id not in finished for cell in look.cells)):
            check_methods(setting)  # which imports transformers: not where nothing is to do
    combinations = len(cells) if ready else sum(map(count_combinations, settings))
    estimate = _estimate(to_do, directory, device_kind(settings[0].model.device))
    if not ready or estimate is None:
        looks = looks if ready else [look._replace(cells=None) for look in looks]
        size = (len(to_do) if ready else combinations) * result_bytes(settings[0].tasks)
        estimate = _by_pilot(settings, looks, finished, size)
    n_seeds, tasks = len(study.spec.seeds), settings[0].tasks
    items = {name: task_items(name, task) or 0 for name, task in tasks.items()}
    effects = smallest_effects(finished.values(), n_seeds) or shipped_effects(items, n_seeds)
    splits = split_notes((setting, look.pool) for setting, look in zip(settings, looks, strict=True))
    return Plan(
        cells if ready else [],
        combinations,
        frozenset(finished),
        downloads,
        ready,
        estimate,
        disk_use(settings, downloads, estimate.bytes, study.out),
        [*dict.fromkeys(notes.lines), *splits, *study.additions],
        effects,
    )


class _Look(NamedTuple):
    """What can be known of one model's part without fetching anything."""

    downloads: Sequence[str]
    pool: PairPool | None
    cells: Sequence[Cell] | None


def _look(setting: Setting, progress: Progress) -> _Look:
    downloads = list_downloads(setting)
    if not downloads:
        pool = pool_at_hand(setting, progress)
        cells = None if pool is None else make_cells(settle_tasks(setting, pool, progress), pool)
        return _Look(downloads, pool, cells)
    pairs = setting.spec.pairs
    pool = read_file_pairs(setting, progress) if pairs.is_file else None
    if pairs.is_file and pool is None and needs_pairs(setting.spec):
        progress.note(f"{pairs.source}: its pairs are written by the model's chat template; the model is not here yet")
    return _Look(downloads, pool, None)


def _estimate(cells: Sequence[Cell], directory: RunDirectory, kind: str) -> RunEstimate | None:
    """What cells that are yet to run will take, one after the other; None where nothing like some of them ran.

    Arguments:
        cells: those.
        directory: theirs. Its finished cells are what is judged by; where there are none, those of the directories
            beside it that measured the same things on the same model and machine.
        kind: of device, which the cells will run on, e.g. "cpu".
    """
    if not cells:
        return RunEstimate(0.0, 0.0, "all is done")
    own = list(directory.finished().values())
    records = [(record, directory) for record in own] or _records_beside(cells, directory, kind)
    sized = [GridCell.of(cell) for cell in cells]
    seconds = seconds_left(sized, [Took.of(record) for record, _ in records])
    if seconds is None:
        return None
    files = [
        path
        for record, there in records
        for path in (there.record_path(record.cell_id), *(there.path / GENERATIONS).glob(f"{record.cell_id}.*"))
    ]
    size = sum(path.stat().st_size for path in files) / len(records)  # of a record and its generated text
    basis = f"{len(records)} finished cells {'here' if own else 'of the runs beside it'}"
    return RunEstimate(seconds, len(cells) * size, basis)


def _by_pilot(
    settings: Sequence[Setting],
    looks: Sequence[_Look],
    finished: Container[str],
    size: float,
) -> RunEstimate:
    """An estimate whose time rests on how fast this machine computes.

    Arguments:
        looks: at each model's part.
        size: bytes of results.
    """
    stages: list[Stage] = []
    slowdown = 1.0
    for setting, look in zip(settings, looks, strict=True):
        to_do = [Alignment.of(cell) for cell in look.cells or () if cell.id not in finished]
        if look.cells is None:
            stages += stages_before(setting, look.pool, PLAN_PILOT_SECONDS)
        else:
            stages += cell_stages(setting, to_do, PLAN_PILOT_SECONDS)
        rate = rate_of(setting, PLAN_PILOT_SECONDS) if stages else None
        slowdown = max(slowdown, rate.speed.slowdown if rate else 1.0)
    known = [stage.seconds for stage in stages if stage.seconds is not None]
    unknown = list(dict.fromkeys(stage.what for stage in stages if stage.seconds is None))
    seconds = sum(known) if known else None
    return RunEstimate(seconds, size, "the model's size and a pilot of this machine's speed", SPREAD, slowdown, unknown)


def _records_beside(cells: Sequence[Cell], directory: RunDirectory, kind: str) -> list[tuple[Record, RunDirectory]]:
    wanted = [(cell.model.fingerprint, cell.model.dtype, without_code(cell.evaluation)) for cell in cells]
    alike = []
    for path in sorted(directory.path.absolute().parent.glob("*/records")):
        there = RunDirectory(path.parent)
        for record in there.finished().values():
            same_machine = record.provenance.get("platform") == platform.platform()
            same_kind = device_kind(record.cost.device) == kind
            measured = (record.model.fingerprint, record.model.dtype, without_code(record.evaluation))
            if same_machine and same_kind and measured in wanted:
                alike.append((record, there))
    return alike
