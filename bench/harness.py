"""From a spec to a leaderboard: plan, fetch, align, measure, record, each finished cell only once."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from bench.cells import Cell, compose, expand_cells, restated_tuning
from bench.core.errors import BenchError, UsageError
from bench.core.progress import Progress, Silent
from bench.devices import device_kind, resolve_batch_size, resolve_device, resolve_dtype
from bench.directory import RunDirectory
from bench.execute import Workbench, execute
from bench.models import ModelSource, resolve_model
from bench.spec import RunSpec, build_methods, build_tasks, needs_pairs
from bench.validate_scorers import copy_validations
from leaderboard.export import write_leaderboard
from leaderboard.record import ModelInfo
from methods.base import SharedWork
from tasks.base import Task
from tasks.neutral import neutral_downloads, neutral_identity, neutral_texts
from tasks.on_policy import build_pairs, cached_pairs, on_policy_downloads
from tasks.pairs import PairPool, load_pairs, sha256_pairs
from tasks.prompts import Prompt, load_prompts, make_prompt, prompt_downloads, shared_texts

if TYPE_CHECKING:
    from leaderboard.board import Leaderboard


NO_PAIRS = PairPool("none", (), sha256_pairs(()))


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


@dataclass(frozen=True)
class Outcome:
    """What a run did."""

    leaderboard: Leaderboard
    executed: Sequence[str]
    failed: Mapping[str, str]
    """Cell id to message."""


@dataclass(frozen=True)
class _Setting:
    """A spec with every "auto" answered and every name looked up."""

    spec: RunSpec
    source: ModelSource
    tasks: Mapping[str, Task]
    device: str
    dtype: str

    @property
    def model_info(self) -> ModelInfo:
        return ModelInfo(
            locator=self.source.locator,
            revision=self.source.revision,
            fingerprint=self.source.fingerprint(),
            dtype=self.dtype,
        )


def plan(spec: RunSpec) -> Plan:
    """Check a spec and say what a run of it would do; nothing is fetched, built or run.

    Raises:
        UsageError: the spec cannot be done as asked, as far as that can be known.
    """
    setting = _resolve(spec)
    directory = RunDirectory(spec.out)
    directory.check()
    downloads = _downloads(setting)
    pool = None
    if not downloads:
        _check_methods(setting)
        pool = _pool_at_hand(setting, Silent())
    elif spec.pairs.source.startswith("file:"):
        _read_file_pairs(setting, Silent())
    cells = [] if pool is None else _cells(setting, pool)
    n_methods = len(build_methods(spec)) - 1
    combinations = 1 + n_methods * len(spec.pairs.sizes) * len(spec.noise.rates) * len(spec.seeds)
    return Plan(cells, combinations, frozenset(directory.finished()), downloads, pool is not None)


def run(spec: RunSpec, *, progress: Progress | None = None) -> Outcome:
    """Do what a spec asks for and write records and leaderboard to its directory.

    Finished cells are never run again. A cell that fails is noted in `failures/` and the others go on.

    Raises:
        UsageError: the spec cannot be done as asked.
        BenchError: something that every cell needs cannot be had.
    """
    progress = progress or Silent()
    setting = _resolve(spec)
    directory = RunDirectory(spec.out)
    directory.check()
    finished = directory.finished()
    if spec.pairs.source.startswith("file:"):
        _read_file_pairs(setting, progress)  # before a model is downloaded
    setting.source.fetch(progress)
    cells = _cells(setting, _pool(setting, progress))
    directory.make()
    directory.save_spec(spec)
    for line in restated_tuning(cells, finished):
        progress.note(line)
    pending = [cell for cell in cells if cell.id not in finished]
    failed: dict[str, str] = {}
    try:
        if pending:
            neutral = _prepare(setting, pending, progress)
            bench = replace(_workbench(setting, progress, neutral), checkpoints=directory.checkpoints)
            failed = _execute_all(pending, bench, directory)
    finally:
        copy_validations(directory.path, _judges(directory), progress)
        board = write_leaderboard(directory.path)
    return Outcome(board, [cell.id for cell in pending if cell.id not in failed], failed)


def _judges(directory: RunDirectory) -> list[Mapping[str, Any]]:
    """Identities of the scorers that judged any finished cell."""
    tasks = [task for record in directory.finished().values() for task in record.evaluation.values()]
    scorers = [task.get("scorer") for task in tasks if isinstance(task, Mapping)]
    return [scorer for scorer in scorers if isinstance(scorer, Mapping)]


def make_pairs(spec: RunSpec, *, progress: Progress | None = None) -> PairPool:
    """The pairs that a run of `spec` would use, built now if they have to be."""
    progress = progress or Silent()
    setting = _resolve(spec)
    setting.source.fetch(progress)
    return _pool(setting, progress)


def _resolve(spec: RunSpec) -> _Setting:
    if _needs_neutral(spec):
        neutral_identity(spec.pairs.neutral)  # which finds out whether a file is there
    tasks = build_tasks(spec)
    source = resolve_model(spec.model)
    device = resolve_device(spec.device)
    return _Setting(spec, source, tasks, device, resolve_dtype(spec.dtype, device))


def _needs_neutral(spec: RunSpec) -> bool:
    return any(method.needs_neutral for method in build_methods(spec).values())


def _cells(setting: _Setting, pool: PairPool) -> list[Cell]:
    return expand_cells(setting.spec, setting.model_info, device_kind(setting.device), pool, setting.tasks)


def _never_trained_on(setting: _Setting, progress: Progress) -> list[Prompt]:
    """Evaluation prompts, whatever this run measures and however many of them, so that neither changes the pairs."""
    own = getattr(setting.tasks.get("toxicity"), "prompts", None)
    sources = dict.fromkeys([*setting.spec.pairs.exclude, *([own] if own else [])])
    prompts = {prompt.id: prompt for source in sources for prompt in load_prompts(source, progress)}
    return list(prompts.values())


def _downloads(setting: _Setting) -> list[str]:
    """One line for each thing that a run would download now."""
    pairs = setting.spec.pairs
    found = [*setting.source.missing(), *(line for task in setting.tasks.values() for line in task.downloads())]
    if needs_pairs(setting.spec):
        if pairs.source == "on-policy":
            found += on_policy_downloads(pairs.on_policy)
            found += [line for source in pairs.exclude for line in prompt_downloads(source)]
        elif pairs.source.startswith("hub:"):
            found.append(pairs.source)
    if _needs_neutral(setting.spec):
        found += neutral_downloads(pairs.neutral)
    return list(dict.fromkeys(found))


def _pool(setting: _Setting, progress: Progress) -> PairPool:
    pool = _pool_at_hand(setting, progress)
    if pool is None:
        _check_methods(setting)
        pool = _build_pool(setting, progress)
    return pool


def _pool_at_hand(setting: _Setting, progress: Progress) -> PairPool | None:
    """The pairs, unless they are yet to be sampled from the model."""
    pairs = setting.spec.pairs
    if not needs_pairs(setting.spec):
        return NO_PAIRS
    prompts = _never_trained_on(setting, progress)
    if pairs.source == "on-policy":
        return cached_pairs(pairs.on_policy, model_fingerprint=_fingerprint(setting), exclude=prompts)
    pool = load_pairs(pairs.source, progress, load_tokenizer=setting.source.load_tokenizer)
    _refuse_overlap(pool, prompts)
    return pool


class _ModelNeededError(Exception):
    """The pairs are messages, which only the model's own chat template makes texts of."""


def _read_file_pairs(setting: _Setting, progress: Progress) -> None:
    """Find what is wrong with a file of pairs, and with how many are asked for, while that costs nothing."""

    def load_tokenizer() -> NoReturn:
        raise _ModelNeededError

    if not needs_pairs(setting.spec):
        return
    try:
        pool = load_pairs(setting.spec.pairs.source, progress, load_tokenizer=load_tokenizer)
    except _ModelNeededError:
        return
    compose(setting.spec, pool)


def _build_pool(setting: _Setting, progress: Progress) -> PairPool:
    bench = _workbench(setting, progress)
    return build_pairs(
        setting.spec.pairs.on_policy,
        model_fingerprint=_fingerprint(setting),
        load_model=bench.load,
        progress=progress,
        exclude=_never_trained_on(setting, progress),
        batch_size=bench.batch_size,
    )


def _refuse_overlap(pool: PairPool, prompts: Sequence[Prompt]) -> None:
    shared = shared_texts((make_prompt(pair.prompt) for pair in pool.pairs), prompts)
    if shared:
        raise UsageError(
            f"{len(shared)} of the prompts in {pool.source} are also evaluation prompts, e.g. {shared[0]!r}; "
            "take them out of one side, or evaluate on others with --set tasks.toxicity.prompts=SOURCE"
        )


def _fingerprint(setting: _Setting) -> str:
    """Identity of what generates: the same weights sample other texts in another arithmetic."""
    return f"{setting.source.fingerprint()}-{setting.dtype}-{device_kind(setting.device)}"


def _workbench(setting: _Setting, progress: Progress, neutral: Sequence[str] = ()) -> Workbench:
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


def _check_methods(setting: _Setting) -> None:
    """Refuse what cannot work whatever the pairs are, before time is spent on making them."""
    config = setting.source.config()
    for method in build_methods(setting.spec).values():
        for size in setting.spec.pairs.sizes:
            n_pairs = sys.maxsize if size is None else size
            method.check(config, n_pairs, dtype=setting.dtype, device=setting.device)


def _prepare(setting: _Setting, pending: Sequence[Cell], progress: Progress) -> list[str]:
    """Everything that can fail before a model is loaded; returns the neutral texts, where a method needs any."""
    config = setting.source.config()
    setting.source.load_tokenizer()
    for cell in pending:
        if cell.preferences is not None:
            pairs, seed = cell.preferences.pairs, cell.preferences.seed
            cell.method.check(config, len(pairs), dtype=setting.dtype, device=setting.device)
            cell.method.check_pairs(pairs, seed)
    for task in setting.tasks.values():
        task.prepare(progress)
    needed = [2 * len(cell.preferences.pairs) for cell in pending if cell.preferences and cell.method.needs_neutral]
    return neutral_texts(setting.spec.pairs.neutral, max(needed), progress) if needed else []


def _execute_all(pending: Sequence[Cell], bench: Workbench, directory: RunDirectory) -> dict[str, str]:
    """Run every pending cell and record it as it finishes; messages of those that failed, by id."""
    progress = bench.progress
    failed: dict[str, str] = {}
    with progress.track("cells", len(pending)) as advance:
        for cell in pending:
            progress.note(f"cell {cell.id}")
            try:
                record, generations = execute(cell, bench)
                directory.save(record, generations)
            except Exception as error:
                failed[cell.id] = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
                directory.save_failure(cell.id, failed[cell.id], traceback.format_exc())
                progress.note(f"cell {cell.id} failed: {failed[cell.id]}")
                kept = directory.kept_checkpoint(cell.id)
                if kept is not None:
                    progress.note(f"the next run goes on from {kept}; delete it to start that cell over")
            advance(1)
    return failed
