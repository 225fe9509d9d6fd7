"""From a config file and flags to a checked spec. Precedence: default < YAML < environment < flags < --set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.core.errors import UsageError
from bench.core.registry import unknown
from bench.overrides import assign, parse_assignment, select
from bench.spec import BASE, RunSpec, find_config, read_config
from bench.validation import validated
from methods.base import METHODS
from tasks.base import TASKS

Assignment = tuple[Sequence[str], Any]


def resolve_spec(
    config: str | None,
    *,
    methods: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    flags: Sequence[Assignment] = (),
    limit: int | None = None,
    scorer: str | None = None,
    assignments: Sequence[str] = (),
) -> RunSpec:
    """The spec that a command line asks for.

    Arguments:
        config: path or shipped name of a YAML file; None for the quickstart.
        methods, tasks: the only ones to run; settings the file has for them are kept.
        flags: places in the spec and what to put there.
        limit: items for every task.
        scorer: the judge of the toxicity task.
        assignments: `key=value` texts of --set, applied last.

    Raises:
        UsageError: says which key, what was found there and what is allowed.
    """
    path = find_config(config)
    settings = read_config(path)
    written = validated(RunSpec, settings, str(path))
    settings = {**settings, "methods": dict(written.methods), "tasks": dict(written.tasks)}
    if methods is not None:
        settings = _choose(settings, "methods", [name for name in methods if name != BASE], METHODS)
    if tasks is not None:
        settings = _choose(settings, "tasks", tasks, TASKS)
    for place, value in [*flags, *_task_flags(settings, limit, scorer)]:
        settings = assign(settings, place, value)
    for text in assignments:
        place, value = parse_assignment(text)
        _check_place(settings, place)
        settings = assign(settings, place, value)
    return validated(RunSpec, settings, "")


def _choose(settings: Mapping[str, Any], kind: str, names: Sequence[str], known: Any) -> dict[str, Any]:
    written = settings.get(kind) or {}
    for name in names:
        if name not in written and name not in known:
            raise unknown(kind.removesuffix("s"), name, [*known, *written])
    return {**settings, kind: select(written, names)}


def _task_flags(settings: Mapping[str, Any], limit: int | None, scorer: str | None) -> list[Assignment]:
    tasks = settings["tasks"]
    found: list[Assignment] = []
    if limit is not None:
        found += [(["tasks", name, "limit"], limit) for name in tasks]
    if scorer is not None:
        if "toxicity" not in tasks:
            raise UsageError(f"--scorer is for the toxicity task, which is not among --tasks {','.join(tasks)}")
        found.append((["tasks", "toxicity", "scorer"], scorer))
    return found


def _check_place(settings: Mapping[str, Any], place: Sequence[str]) -> None:
    """Refuse settings for a method or task that is not part of the run: they would silently add it."""
    kind, *rest = place
    if kind in ("methods", "tasks") and len(rest) > 1 and rest[0] not in (settings.get(kind) or {}):
        present = ", ".join(settings.get(kind) or {})
        raise UsageError(f"--set {'.'.join(place)}: '{rest[0]}' is not in this run's {kind} ({present})")
