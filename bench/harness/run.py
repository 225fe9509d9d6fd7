"""From a study to a leaderboard: fetch, align, measure, record, each cell only once, by however many processes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from bench.core.progress import Progress, Silent
from bench.core.store.locks import Owner, building
from bench.harness.cells import Cell, made_by_other_code, restated_tuning
from bench.harness.directory import RunDirectory
from bench.harness.disk import check_room
from bench.harness.execute import Workbench, execute
from bench.harness.forecast import Forecast
from bench.harness.resolved import (
    Setting,
    check_methods,
    check_texts,
    count_combinations,
    make_cells,
    needs_neutral,
    never_trained_on,
    pool_at_hand,
    read_file_pairs,
    resolve_setting,
    sampling_template,
    settle_tasks,
    split_notes,
    tasks_on,
)
from bench.harness.schedule import FETCH, PAIRS, Schedule
from bench.harness.states import CellStates, CellWatcher, GridCell, State
from bench.harness.turns import Turns
from bench.leaderboard.export import write_leaderboard
from bench.leaderboard.records.validation import copy_validations
from bench.methods.base import PlannedAlignment
from bench.methods.shared import SharedWork
from bench.models.devices import device_kind, resolve_batch_size
from bench.spec.run_spec import RunSpec
from bench.spec.study import Study, differences, stored_settings
from bench.tasks.preferences.draw import Draw, prepare_preferences
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
    # Before a model is downloaded; notes come when the file is read for good.
    file_pairs = read_file_pairs(settings[0], Silent()) if study.spec.pairs.is_file else None
    check_room(settings, study.out)
    schedule = Schedule(settings, progress, file_pairs)
    grid = [_cells_of(setting, progress, schedule) for setting in settings]
    cells = [cell for _, _, planned in grid for cell in planned]
    directory.make()
    earlier = made_by_other_code(cells, finished, device_kind(settings[0].model.device))
    _say_what_changed(study, directory, len(finished.keys() - {cell.id for cell in cells}), len(earlier), progress)
    states = CellStates([GridCell.of(cell) for cell in cells], finished)
    directory.save_settings(study.settings(), states.cells)
    for line in restated_tuning(cells, finished):
        progress.note(line)
    directory.clean_up()
    splits = split_notes((setting, pool) for setting, pool, _ in grid)
    for line in [*splits, *study.additions] if len(cells) > states.count(State.done) else ():
        progress.note(line)
    schedule.expect_cells([(setting, planned) for setting, _, planned in grid], finished)
    if isinstance(progress, CellWatcher) and len(cells) > states.count(State.done):
        progress.watch(states)
    states.listen(schedule.settle)
    turns = Turns(directory, states, progress, WAIT_SECONDS)
    try:
        for setting, pool, planned in grid:
            to_do = [cell for cell in planned if cell.id not in finished]
            _run_setting(setting, pool, to_do, turns, schedule.forecast)
        turns.wait_for_others()
    finally:
        with directory.writing():
            tasks = [task for record in directory.finished().values() for task in record.evaluation.values()]
            scorers = [task.get("scorer") for task in tasks if isinstance(task, Mapping)]
            identities = [scorer for scorer in scorers if isinstance(scorer, Mapping)]
            copy_validations(directory.path, identities, progress)
            board = write_leaderboard(directory.path)
    return Outcome(board, turns.executed, turns.failed, turns.elsewhere)


def make_pairs(spec: RunSpec, *, progress: Progress | None = None) -> PairPool:
    """The pairs that a run of `spec` would use, built now if they have to be."""
    progress = progress or Silent()
    setting = resolve_setting([spec])
    setting.model.source.fetch(progress)
    pool = pool_at_hand(setting, progress) or _build_pool(setting, progress)
    if pool.chat is not None:
        progress.note(f"{setting.model.source.locator}: its chat template writes the pairs")
    elif spec.system_prompt is not None:
        progress.note("system_prompt has no part in the pairs, which are plain texts (apply_chat_template)")
    return pool


def _cells_of(setting: Setting, progress: Progress, schedule: Schedule) -> tuple[Setting, PairPool, list[Cell]]:
    """One model's setting, settled, its pairs and its cells; it is fetched and pairs are built where that is to do."""
    if schedule.is_watched and setting.model.source.missing():
        schedule.expect_all()
    with schedule.forecast.stage(setting.model.source.locator, FETCH):
        setting.model.source.fetch(progress)
    pool = pool_at_hand(setting, progress)
    if pool is None:
        schedule.expect_all()
        with schedule.forecast.stage(setting.model.source.locator, PAIRS):
            _prepare_tasks(setting, progress)  # before minutes of sampling, not after
            pool = _build_pool(setting, progress)
    setting = settle_tasks(setting, pool, progress)
    cells = make_cells(setting, pool)
    same = count_combinations(setting) - len(cells)
    if same:
        progress.note(f"{same} combinations are the same cells as others, as a size that is all there are; taken once")
    return setting, pool, cells


def _run_setting(setting: Setting, pool: PairPool, pending: Sequence[Cell], turns: Turns, forecast: Forecast) -> None:
    """Run what no other process has taken of one model's cells; those taken are left to `turns`."""
    if not pending:
        return
    setting = replace(setting, tasks=tasks_on(setting, pool))
    bench = Workbench(
        neutral=_prepare(setting, pool, pending, turns.progress),
        model=setting.model,
        pool=pool,
        batch_size=resolve_batch_size(setting.spec.batch_size, setting.model.device),
        tasks=setting.tasks,
        progress=turns.progress,
        forecast=forecast,
        shared=SharedWork(),
        checkpoints=turns.directory.checkpoints,
        rescued=turns.directory.rescued,
    )
    turns.take(pending, lambda cell: execute(cell, bench))


def _say_what_changed(study: Study, directory: RunDirectory, others: int, earlier: int, progress: Progress) -> None:
    """Name what is not as it was when the directory was last run, where that makes other cells than are finished.

    Arguments:
        others: finished cells that are not part of the study.
        earlier: those of them that are but for the version of the code.
    """
    stored = stored_settings(directory.path)
    changed = differences(stored, study.settings()) if stored is not None else []
    if changed and others:
        progress.note(f"{directory.path} was last run with other settings:")
        for line in changed:
            progress.note(f"  {line}")
    if earlier:
        progress.note(
            f"{earlier} finished cells there were made by an earlier version, whose cell ids counted file names, or by "
            "other code of this one; they are kept, and stay on the board; this run makes its own anew"
        )
    if others > earlier:
        progress.note(
            f"{others - earlier} finished cells there are not part of this run; they are kept, and stay on the board"
        )


def _build_pool(setting: Setting, progress: Progress) -> PairPool:
    """Pairs sampled from the model, once it is known that the methods could work with them."""
    check_methods(setting)
    said: list[Owner | None] = []

    def wait(owner: Owner | None) -> None:
        if not said:
            said.append(owner)
            progress.note(f"waiting for pairs that another process is making ({owner or 'just now'})")
        time.sleep(WAIT_SECONDS)

    with building(f"pairs-{setting.writing_key}", wait):
        return build_pairs(
            setting.spec.pairs.on_policy,
            model_fingerprint=setting.writing_key,
            load_model=lambda: setting.model.load(progress),
            progress=progress,
            exclude=never_trained_on(setting, progress),
            batch_size=resolve_batch_size(setting.spec.batch_size, setting.model.device),
            chat=sampling_template(setting),
        )


def _prepare_tasks(setting: Setting, progress: Progress) -> None:
    """Everything that a measurement needs besides the weights, checked against the model's tokenizer."""
    tokenizer = setting.model.source.load_tokenizer()
    for task in setting.tasks.values():
        task.prepare(progress)
        task.check(tokenizer)


def _prepare(setting: Setting, pool: PairPool, pending: Sequence[Cell], progress: Progress) -> list[str]:
    """Everything that can fail before a model is loaded; returns the neutral texts, where a method needs any."""
    config, model = setting.model.source.config(), setting.model
    aligned = [(cell, cell.draw) for cell in pending if cell.draw is not None]

    @lru_cache(maxsize=2)  # cells that share pairs lie side by side, those of oracles among them
    def planned(draw: Draw) -> PlannedAlignment:
        data = prepare_preferences(pool, draw)
        return PlannedAlignment(
            config,
            len(data.pairs),
            dtype=model.dtype,
            device=model.device,
            pairs=data.pairs,
            held_out=data.held_out,
            seed=draw.seed,
        )

    for cell, draw in aligned:
        cell.method.check(planned(draw))
    _prepare_tasks(setting, progress)
    reads = ((cell.name, cell.method, planned(draw)) for cell, draw in aligned)
    check_texts(reads, model.source.load_tokenizer())
    if not needs_neutral(setting.spec):
        return []
    needed = [2 * cell.data_info.n_pairs for cell, _ in aligned if cell.method.needs_neutral]
    return neutral_texts(setting.spec.pairs.neutral, max(needed), progress) if needed else []
