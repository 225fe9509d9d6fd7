"""A study's settings with every "auto" answered and every name looked up, model by model, and the pairs they mean."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, NoReturn

from bench.core.chat import ChatInfo, ChatSettings
from bench.core.errors import UsageError
from bench.core.hashing import sha256_json
from bench.core.passes.chat_template import ChatTemplate, check_prefixes
from bench.core.passes.shapes import fixed_rows
from bench.core.progress import Progress
from bench.harness.cells import Cell, expand_cells, is_chat, plan_draws
from bench.leaderboard.records.record import ModelInfo
from bench.methods.base import AlignmentMethod, PlannedAlignment
from bench.models.devices import device_kind, resolve_batch_size
from bench.models.placed import PlacedModel, place_model
from bench.models.sources import ModelSource
from bench.spec.run_spec import RunSpec, build_methods, build_tasks, needs_pairs
from bench.tasks.base import Task
from bench.tasks.preferences.draw import describe_split, pairs_set_aside, prepare_preferences
from bench.tasks.preferences.on_policy import cached_pairs, on_policy_downloads
from bench.tasks.preferences.pool import PairPool, load_pairs, sha256_pairs
from bench.tasks.texts.prompts import Prompt, load_prompts, make_prompt, prompt_source, shared_texts
from bench.tasks.texts.prose import neutral_downloads, neutral_identity

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Setting:
    """The part of a study that one model has."""

    specs: Sequence[RunSpec]
    """They differ in their noise alone."""
    model: PlacedModel
    tasks: Mapping[str, Task]

    @property
    def spec(self) -> RunSpec:
        """For all that the specs have in common."""
        return self.specs[0]

    @property
    def writing_key(self) -> str:
        """Identity of what decides the text that the model writes, the rows of a batch included where they do."""
        kind = device_kind(self.model.device)
        rows = fixed_rows(kind, self.model.dtype, resolve_batch_size(self.spec.batch_size, kind))
        return self.model.key if rows is None else f"{self.model.key}-batches-of-{rows}"


def resolve_setting(specs: Sequence[RunSpec]) -> Setting:
    """Look up every name; nothing is fetched.

    Raises:
        UsageError: the specs cannot be done as asked, as far as that can be known.
    """
    spec = specs[0]
    if needs_neutral(spec):
        neutral_identity(spec.pairs.neutral)  # which finds out whether a file is there
    tasks = build_tasks(spec)
    model = place_model(spec.model, device=spec.device, dtype=spec.dtype, chat_date=spec.chat_date)
    return Setting(specs, model, tasks)


def settle_tasks(setting: Setting, pool: PairPool, progress: Progress) -> Setting:
    """The setting, whose tasks know whether a chat template is applied, which the pairs may decide; says so.

    After its source's `fetch`; no weights are loaded.

    Raises:
        UsageError: a template is asked for that the tokenizer has not, or a system prompt where none is applied.
    """
    spec = setting.spec
    asked, source = spec.chat, setting.model.source
    applies = pool.chat is not None if asked.apply == "auto" else asked.apply
    tokenizer = cache(source.load_tokenizer)

    def describe(chat: ChatSettings) -> ChatInfo:
        try:
            return ChatTemplate.of(tokenizer(), chat).info
        except UsageError as error:
            raise UsageError(f"{source.locator}: {error}") from error

    chat = asked.model_copy(update={"apply": applies})
    tasks = {name: task.settle(chat, describe) for name, task in setting.tasks.items()}
    chats = [*(["the pairs"] if pool.chat else []), *(name for name, task in tasks.items() if is_chat(task))]
    for name, value in (("system_prompt", asked.system_prompt), ("chat_template", asked.template)):
        if value is not None and not chats:
            raise UsageError(
                f"{name} is set, and nothing is written as a chat: the pairs are no messages, to which alone "
                "apply_chat_template: auto applies a template; set it to true"
            )
    if chats:
        name = f" '{asked.template}'" if asked.template else ""
        prompt = f", with the system prompt {asked.system_prompt!r}" if asked.system_prompt else ""
        progress.note(f"{source.locator}: its chat template{name} writes {', '.join(chats)}{prompt}")
    elif source.has_chat_template():
        reason = "auto, and the pairs are no messages" if asked.apply == "auto" else "false"
        progress.note(f"{source.locator}: its chat template is not applied (apply_chat_template: {reason})")
    return replace(setting, tasks=tasks)


def needs_neutral(spec: RunSpec) -> bool:
    """Whether any method reads prose that has nothing to do with the pairs."""
    return any(method.needs_neutral for method in build_methods(spec).values())


def tasks_on(setting: Setting, pool: PairPool) -> Mapping[str, Task]:
    """What is measured, on the held-out pairs of the pool where it measures on pairs.

    Raises:
        UsageError: too few pairs are held out.
    """
    if not any(task.needs_held_out for task in setting.tasks.values()):
        return setting.tasks
    pairs = pairs_set_aside(pool, setting.spec.pairs.held_out)
    return {name: task.on_held_out(pairs) for name, task in setting.tasks.items()}


def make_cells(setting: Setting, pool: PairPool) -> list[Cell]:
    """Every cell, each once: `base` first, then those that share pairs side by side.

    Raises:
        UsageError: more pairs asked for than exist.
    """
    source, dtype, kind = setting.model.source, setting.model.dtype, device_kind(setting.model.device)
    model = ModelInfo(
        locator=source.locator,
        revision=source.revision,
        fingerprint=source.fingerprint(),
        dtype=dtype,
        chat_date=source.written_date(),
    )
    tasks = tasks_on(setting, pool)
    cells: dict[str, Cell] = {}
    for spec in setting.specs:
        for cell in expand_cells(spec, model, kind, pool, tasks):
            cells.setdefault(cell.id, cell)
    return list(cells.values())


def count_combinations(setting: Setting) -> int:
    """How many cells a study of one model has, before those that are the same are counted once."""
    n_methods = len(build_methods(setting.spec)) - 1
    return 1 + sum(
        n_methods * len(spec.pairs.sizes) * len(spec.noise.rates) * len(spec.seeds) for spec in setting.specs
    )


def list_downloads(setting: Setting) -> list[str]:
    """One line for each thing that a run would download now."""
    pairs = setting.spec.pairs
    downloads = [*setting.model.source.missing()]
    for task in setting.tasks.values():
        downloads += task.downloads()
    if needs_pairs(setting.spec):
        if pairs.source == "on-policy":
            downloads += on_policy_downloads(pairs.on_policy)
            downloads += [line for source in pairs.exclude for line in prompt_source(source).downloads()]
        elif pairs.source.startswith("hub:"):
            downloads.append(pairs.source)
    if needs_neutral(setting.spec):
        downloads += neutral_downloads(pairs.neutral)
    return list(dict.fromkeys(downloads))


def pool_at_hand(setting: Setting, progress: Progress) -> PairPool | None:
    """The pairs, unless they are yet to be sampled from the model. After its source's `fetch`."""
    pairs = setting.spec.pairs
    say_chat_date(setting.model.source, progress)
    if not needs_pairs(setting.spec):
        return PairPool("none", (), sha256_pairs(()))
    prompts = never_trained_on(setting, progress)
    if pairs.source == "on-policy":
        key, chat = setting.writing_key, sampling_template(setting)
        return cached_pairs(pairs.on_policy, model_fingerprint=key, exclude=prompts, chat=chat)
    load_tokenizer = setting.model.source.load_tokenizer
    pool = load_pairs(pairs.source, progress, load_tokenizer=load_tokenizer, chat=setting.spec.chat)
    shared = shared_texts((make_prompt(pair.question or pair.prompt) for pair in pool.pairs), prompts)
    if shared:
        raise UsageError(
            f"{len(shared)} of the prompts in {pool.source} are also evaluation prompts, e.g. {shared[0]!r}; "
            "take them out of one side, or evaluate on others with --set tasks.toxicity.prompts=SOURCE"
        )
    return pool


def sampling_template(setting: Setting) -> ChatTemplate | None:
    """How the prompts of on-policy pairs are put to the model; None for plain texts, which they are.

    Raises:
        UsageError: the tokenizer has no such template.
    """
    chat, source = setting.spec.chat, setting.model.source
    if chat.apply is not True:
        return None
    try:
        return ChatTemplate.of(source.load_tokenizer(), chat)
    except UsageError as error:
        raise UsageError(f"{source.locator}: {error}") from error


def say_chat_date(source: ModelSource, progress: Progress) -> None:
    """Say which date a model's chat template writes, where it writes today's. After `fetch`."""
    day = source.written_date()
    if day is not None:
        progress.note(f"{source.locator}: its chat template asks for today's date and is given {day} (chat_date)")


class _ModelNeededError(Exception):
    """The pairs are messages, which only the model's own chat template makes texts of."""


def read_file_pairs(setting: Setting, progress: Progress) -> PairPool | None:
    """Find what is wrong with a file of pairs, and with how many are asked for, while that costs nothing.

    Returns:
        The pairs; None where no method wants any, or where they are messages, which the model alone makes texts of.
    """

    def load_tokenizer() -> NoReturn:
        raise _ModelNeededError

    if not needs_pairs(setting.spec):
        return None
    with suppress(_ModelNeededError):
        pool = load_pairs(setting.spec.pairs.source, progress, load_tokenizer=load_tokenizer, chat=setting.spec.chat)
        for draw in plan_draws(setting.spec):
            prepare_preferences(pool, draw)
        tasks_on(setting, pool)
        return pool
    return None


def split_notes(pools: Iterable[tuple[Setting, PairPool | None]]) -> list[str]:
    """One line for each pool of pairs on how many are trained on and how many are held out."""
    lines = [
        describe_split(pool, setting.spec.pairs.held_out, setting.spec.pairs.sizes)
        for setting, pool in pools
        if pool is not None and pool.pairs
    ]
    return list(dict.fromkeys(lines))


def check_methods(setting: Setting) -> None:
    """Refuse what cannot work whatever the pairs are, before time is spent on making them."""
    config, model = setting.model.source.config(), setting.model
    for method in build_methods(setting.spec).values():
        for size in setting.spec.pairs.sizes:
            n_pairs = sys.maxsize if size is None else size
            method.check(PlannedAlignment(config, n_pairs, dtype=model.dtype, device=model.device))


def check_texts(
    reads: Iterable[tuple[str, AlignmentMethod, PlannedAlignment]], tokenizer: PreTrainedTokenizerBase
) -> None:
    """Have each method look at all pairs that it will be given, each set of texts once: labels play no part.

    Arguments:
        reads: a row's name, its method, and what that will be given.
        tokenizer: the model's own: no weights are loaded yet.

    Raises:
        UsageError: names the row, the pair, what is wrong with it and what to do.
    """
    seen: set[str] = set()
    for name, method, planned in reads:
        planned = replace(planned, tokenizer=tokenizer)
        for what, part in (("", replace(planned, held_out=())), ("held-out ", replace(planned, pairs=()))):
            pairs = (*part.pairs, *part.held_out)
            texts = sorted([pair.prompt, *sorted((pair.chosen, pair.rejected))] for pair in pairs)
            key = sha256_json([type(method).__qualname__, method.model_dump(mode="json"), texts])
            if key in seen:
                continue
            seen.add(key)
            try:
                check_prefixes(tokenizer, pairs)
                method.check(part)
            except UsageError as error:
                raise UsageError(f"{name}: {what}{error}") from error


def never_trained_on(setting: Setting, progress: Progress) -> list[Prompt]:
    """Evaluation prompts, whatever this run measures and however many of them, so that neither changes the pairs."""
    own = getattr(setting.tasks.get("toxicity"), "prompts", None)
    sources = dict.fromkeys([*setting.spec.pairs.exclude, *([own] if own else [])])
    prompts = {prompt.id: prompt for source in sources for prompt in load_prompts(source, progress)}
    return list(prompts.values())
