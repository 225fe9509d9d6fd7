"""From a config file and flags to a checked spec. Precedence: default < YAML < environment < flags < --set."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.core.errors import UsageError
from bench.core.registry import unknown
from bench.core.values import BASE
from bench.methods.base import METHODS
from bench.spec.messages import validated
from bench.spec.overrides import assign, parse_assignment
from bench.spec.run_spec import RunSpec, Settings, config_name, find_config, read_yaml
from bench.spec.tuned_rows import with_own_scope, with_typed, without_foreign_tuning
from bench.tasks.base import TASKS
from bench.tasks.toxicity.protocols import protocol_settings

Assignment = tuple[Sequence[str], Any]


def resolve_spec(
    config: str | None,
    *,
    settings: Mapping[str, Any] | None = None,
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
        settings: what that file is taken to hold; None to read it.
        methods, tasks: the only ones to run; settings the file has for them are kept.
        flags: places in the spec and what to put there.
        limit: items for every task.
        scorer: of the toxicity task.
        assignments: `key=value` texts of --set, applied last.

    Returns:
        The spec, in which controls have the settings of the method that they control, where they have none themselves.

    Raises:
        UsageError: says which key, what was found there and what is allowed.
    """
    path = find_config(config)
    settings = with_own_scope(read_yaml(path), str(path)) if settings is None else settings
    written = validated(RunSpec, settings, str(path))
    settings = {**settings, "methods": dict(written.methods), "tasks": dict(written.tasks)}
    if methods is not None:
        settings = _choose(settings, "methods", [name for name in methods if name != BASE], METHODS)
        settings["sweep"] = {name: swept for name, swept in written.sweep.items() if name in settings["methods"]}
    if tasks is not None:
        settings = _choose(settings, "tasks", tasks, TASKS)
    scorers = [] if scorer is None else [(["tasks", "toxicity", "scorer"], scorer)]
    for key_path, value in [*flags, *scorers]:
        # Which this would silently add.
        if key_path[0] == "tasks" and len(key_path) > 2 and key_path[1] not in settings["tasks"]:
            if key_path[2] == "apply_chat_template":
                continue  # the flag is for the whole run as well
            flag, present = "--" + key_path[2].replace("_", "-"), ",".join(settings["tasks"])
            raise UsageError(f"{flag} is for the {key_path[1]} task, which is not among --tasks {present}")
        settings = assign(_before_preset(settings, key_path, value), key_path, value)
    for name in settings["tasks"] if limit is not None else ():
        settings = assign(settings, ["tasks", name, "limit"], limit)
    key_paths = sorted(map(parse_assignment, assignments), key=lambda parsed: not _is_preset(parsed[0]))
    for key_path, value in key_paths:
        kind, *rest = key_path
        there = settings.get(kind) or {}
        if kind in ("methods", "tasks") and len(rest) > 1 and rest[0] not in there:  # which this would silently add
            key = ".".join(key_path)
            raise UsageError(f"--set {key}: '{rest[0]}' is not in this run's {kind} ({', '.join(there)})")
        settings = assign(_before_preset(settings, key_path, value), key_path, value)
    settings = _with_typed_settings(settings, [key_path for key_path, _ in key_paths])
    spec = validated(RunSpec, settings, "")
    # A method need not be in the run for its control to take after it.
    origin = {"written": {**written.methods, **spec.methods}, "read_from": config_name(path)}
    return for_model(spec.model_copy(update=origin), spec.model)


def for_model(spec: RunSpec, model: str) -> RunSpec:
    """The run of one model: settings that were tuned on another, or on other pairs, are left to the methods' defaults,
    and controls have the settings of what they control."""
    rows, notes = without_foreign_tuning(spec.written or spec.methods, model, spec.pairs)
    methods = {name: _as_control(name, rows) if spec.written else rows[name] for name in spec.methods}
    dropped = tuple(note for name, note in notes.items() if name in spec.methods)
    return spec.model_copy(update={"model": model, "methods": methods, "notes": dropped})


def _before_preset(settings: dict[str, Any], key_path: Sequence[str], value: Any) -> dict[str, Any]:
    """A preset or protocol given by a flag or --set comes before what the file has in that row: its fields stand,
    unless given as well."""
    if not _is_preset(key_path):
        return settings
    rows = settings[key_path[0]]
    row = rows.get(key_path[1]) or {}
    if key_path[0] == "tasks":
        fields = protocol_settings(str(value))
    else:
        fields = METHODS[_kind(key_path[1], {**rows, key_path[1]: row})].preset_settings(str(value))
    return assign(settings, key_path[:2], {key: row[key] for key in row if key not in fields})


def _is_preset(key_path: Sequence[str]) -> bool:
    return len(key_path) == 3 and (key_path[0], key_path[2]) in (("methods", "preset"), ("tasks", "protocol"))


def _with_typed_settings(settings: dict[str, Any], key_paths: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The settings, of whose rows those say what is theirs in which --set has put something at `key_paths`."""
    typed: dict[str, set[str]] = {}
    for kind, *rest in key_paths:
        if kind == "methods" and len(rest) > 1:
            typed.setdefault(rest[0], set()).add(rest[1])
    for row, keys in typed.items():
        if isinstance(settings["methods"][row], Mapping):
            settings = assign(settings, ["methods", row], with_typed(settings["methods"][row], keys))
    return settings


def _as_control(name: str, rows: Settings) -> Mapping[str, Any]:
    """The settings of row `name`, completed from the row that it is a control of, if it is one.

    A setting is taken over where both methods have it and allow it the same values.
    """
    own = rows[name]
    control = METHODS[_kind(name, rows)]
    if control.control_of is None:
        return own
    controlled = _controlled_row(name, control.control_of, rows)
    fields, others = control.model_fields, METHODS[control.control_of].model_fields
    alike = {key for key in fields.keys() & others.keys() if fields[key].annotation == others[key].annotation}
    return {**{key: value for key, value in controlled.items() if key in alike}, **own}


def _controlled_row(name: str, method: str, rows: Settings) -> Mapping[str, Any]:
    """The settings of the row of `method`: the one of its name, or else the only one; none where there is no such row.

    Raises:
        UsageError: it could be either of several.
    """
    candidates = [row for row in rows if _kind(row, rows) == method]
    if method in candidates:
        return rows[method]
    if len(candidates) > 1 and not rows[name]:
        raise UsageError(
            f"methods.{name} is a control of {method}, of which there are several rows ({', '.join(candidates)}); give "
            f"it settings of its own, or call the one that it controls '{method}'"
        )
    return rows[candidates[0]] if len(candidates) == 1 else {}


def _kind(row: str, rows: Settings) -> str:
    return str(rows[row].get("use", row))


def _choose(settings: Mapping[str, Any], kind: str, names: Sequence[str], registered: Any) -> dict[str, Any]:
    written = settings.get(kind) or {}
    for name in names:
        if name not in written and name not in registered:
            raise unknown(kind.removesuffix("s"), name, [*registered, *written])
    return {**settings, kind: {name: written.get(name) or {} for name in names}}
