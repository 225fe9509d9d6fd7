"""From a study to a leaderboard: fetch, align, measure, record, each cell only once, by however many processes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.core.progress import Progress, Silent
from bench.core.store.locks import Owner, building
from bench.harness.cells import Cell, restated_tuning
from bench.harness.directory import RunDirectory
from bench.harness.execute import Workbench, execute
from bench.harness.resolved import (
    Setting,
    check_methods,
    count_combinations,
    make_cells,
    needs_neutral,
    never_trained_on,
    pool_at_hand,
    read_file_pairs,
    resolve_setting,
)
from bench.harness.states import CellStates, CellWatcher, GridCell, State, Took
from bench.harness.text_checks import check_texts
from bench.harness.turns import Turns
from bench.leaderboard.export import write_leaderboard
from bench.leaderboard.records.record import Record
from bench.methods.base import SharedWork
from bench.models.devices import resolve_batch_size
from bench.scoring.validate import copy_validations
from bench.spec.run_spec import RunSpec
from bench.spec.study import Study, differences, stored_settings
from bench.tasks.preferences.on_policy import build_pairs
from bench.tasks.preferences.pool import PairPool
from bench.tasks.texts.prose import neutral_texts

if TYPE_CHECKING:
    from bench.leaderboard.board.values import Leaderboard

__all__ = ["Outcome", "execute", "make_pairs", "run", "run_study"]

WAIT_SECONDS = 1.0
"""Between two looks at whether another process is done with what this one waits for."""


@dataclass(frozen=True)
class Outcome:
    """What a run did."""

    leaderboard: Leaderboard
    executed: Sequence[str]
    failed: Mapping[str, str]
    """Cell id to message, of this process's cells and of those that others tried meanwhile."""
    elsewhere: Sequence[str] = ()
    """Cells that other processes finished meanwhile."""


def run(spec: RunSpec, *, progress: Progress | None = None) -> Outcome:
    """Do what a spec asks for and write records and leaderboard to its directory; see `run_study`."""
    return run_study(Study.of_run(spec), progress=progress)


def run_study(study: Study, *, progress: Progress | None = None) -> Outcome:
    """Do what a study asks for and write records and leaderboard to its directory.

    Finished cells are never run again. A cell that fails is noted in `failures/` and the others go on. Processes that
    work on one directory share the cells, each of which one of them runs; each waits for the last cell of the others.

    Raises:
        UsageError: the study cannot be done as asked.
        BenchError: something that every cell needs cannot be had, or the results cannot be written.
    """
    progress = progress or Silent()
    settings = [resolve_setting(specs) for specs in study.specs()]
    directory = RunDirectory(study.out)
    directory.check()
    for line in directory.set_aside_broken():
        progress.note(line)
    finished = directory.finished()
    if study.spec.pairs.source.startswith("file:"):
        read_file_pairs(settings[0], progress)  # before a model is downloaded
    grid = [(setting, _cells_of(setting, progress)) for setting in settings]
    cells = [cell for _, some in grid for cell in some]
    directory.make()
    _say_what_changed(study, directory, finished, cells, progress)
    directory.save_settings(study.settings(), [GridCell.of(cell) for cell in cells])
    for line in restated_tuning(cells, finished):
        progress.note(line)
    directory.clean_up()
    turns = Turns(directory, _states(cells, finished, progress), progress, WAIT_SECONDS)
    try:
        for setting, some in grid:
            _run_setting(setting, [cell for cell in some if cell.id not in finished], turns)
        turns.wait_for_others()
    finally:
        with directory.writing():
            copy_validations(directory.path, _judges(directory), progress)
            board = write_leaderboard(directory.path)
    return Outcome(board, turns.executed, turns.failed, turns.elsewhere)


def make_pairs(spec: RunSpec, *, progress: Progress | None = None) -> PairPool:
    """The pairs that a run of `spec` would use, built now if they have to be."""
    progress = progress or Silent()
    setting = resolve_setting([spec])
    setting.source.fetch(progress)
    return _pool(setting, progress)


def _cells_of(setting: Setting, progress: Progress) -> list[Cell]:
    """The cells of one model, which is fetched and its pairs built where that is to do."""
    setting.source.fetch(progress)
    pool = pool_at_hand(setting, progress)
    if pool is None:
        _prepare_tasks(setting, progress)  # before minutes of sampling, not after
        pool = _pool(setting, progress)
    cells = make_cells(setting, pool)
    same = count_combinations(setting) - len(cells)
    if same:
        progress.note(f"{same} combinations are the same cells as others, as a size that is all there are; taken once")
    return cells


def _states(cells: Sequence[Cell], finished: Mapping[str, Record], progress: Progress) -> CellStates:
    states = CellStates([GridCell.of(cell) for cell in cells])
    states.finished += [Took.of(record) for record in finished.values()]
    for cell in cells:
        if cell.id in finished:
            states.mark(cell.id, State.done)
    if isinstance(progress, CellWatcher) and len(cells) > states.count(State.done):
        progress.watch(states)
    return states


def _run_setting(setting: Setting, pending: Sequence[Cell], turns: Turns) -> None:
    """Run what no other process has taken of one model's cells; those taken are left to `turns`."""
    if not pending:
        return
    neutral = _prepare(setting, pending, turns.progress)
    bench = replace(_workbench(setting, turns.progress, neutral), checkpoints=turns.directory.checkpoints)
    turns.take(pending, lambda cell: execute(cell, bench))


def _say_what_changed(
    study: Study, directory: RunDirectory, finished: Mapping[str, Record], cells: Sequence[Cell], progress: Progress
) -> None:
    """Name what is not as it was when the directory was last run, where that makes other cells than are finished."""
    stored = stored_settings(directory.path)
    others = len(finished.keys() - {cell.id for cell in cells})
    changed = differences(stored, study.settings()) if stored is not None else []
    if changed and others:
        progress.note(f"{directory.path} was last run with other settings:")
        for line in changed:
            progress.note(f"  {line}")
    if others:
        progress.note(f"{others} finished cells there are not part of this run; they are kept, and stay on the board")


def _judges(directory: RunDirectory) -> list[Mapping[str, Any]]:
    """Identities of the scorers that judged any finished cell."""
    tasks = [task for record in directory.finished().values() for task in record.evaluation.values()]
    scorers = [task.get("scorer") for task in tasks if isinstance(task, Mapping)]
    return [scorer for scorer in scorers if isinstance(scorer, Mapping)]


def _pool(setting: Setting, progress: Progress) -> PairPool:
    pool = pool_at_hand(setting, progress)
    if pool is None:
        check_methods(setting)
        pool = _build_pool(setting, progress)
    return pool


def _build_pool(setting: Setting, progress: Progress) -> PairPool:
    bench = _workbench(setting, progress)
    said: list[Owner | None] = []

    def wait(owner: Owner | None) -> None:
        if not said:
            said.append(owner)
            progress.note(f"waiting for pairs that another process is making ({owner or 'just now'})")
        time.sleep(WAIT_SECONDS)

    with building(f"pairs-{setting.generator}", wait):
        return build_pairs(
            setting.spec.pairs.on_policy,
            model_fingerprint=setting.generator,
            load_model=bench.load,
            progress=progress,
            exclude=never_trained_on(setting, progress),
            batch_size=bench.batch_size,
        )


def _workbench(setting: Setting, progress: Progress, neutral: Sequence[str] = ()) -> Workbench:
    return Workbench(
        source=setting.source,
        fingerprint=setting.source.fingerprint(),
        device=setting.device,
        dtype=setting.dtype,
        batch_size=resolve_batch_size(setting.spec.batch_size, setting.device),
        tasks=setting.tasks,
        progress=progress,
        shared=SharedWork(),
        neutral=neutral,
    )


def _prepare_tasks(setting: Setting, progress: Progress) -> None:
    """Everything that a measurement needs besides the weights, checked against the model's tokenizer."""
    tokenizer = setting.source.load_tokenizer()
    for task in setting.tasks.values():
        task.prepare(progress)
        task.check(tokenizer)


def _prepare(setting: Setting, pending: Sequence[Cell], progress: Progress) -> list[str]:
    """Everything that can fail before a model is loaded; returns the neutral texts, where a method needs any."""
    config = setting.source.config()
    for cell in pending:
        if cell.preferences is not None:
            pairs, seed = cell.preferences.pairs, cell.preferences.seed
            cell.method.check(config, len(pairs), dtype=setting.dtype, device=setting.device)
            cell.method.check_pairs(pairs, seed)
    _prepare_tasks(setting, progress)
    reads = [(cell.method_info.name, cell.method, cell.preferences) for cell in pending if cell.preferences is not None]
    check_texts(reads, setting.source.load_tokenizer())
    if not needs_neutral(setting.spec):
        return []
    needed = [2 * len(cell.preferences.pairs) for cell in pending if cell.preferences and cell.method.needs_neutral]
    return neutral_texts(setting.spec.pairs.neutral, max(needed), progress) if needed else []
