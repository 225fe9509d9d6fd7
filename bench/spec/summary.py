"""What a run or study is set to, in a few lines: its configuration, where methods differ from their defaults, and what
is measured on how many items."""

from collections.abc import Mapping
from typing import Any

from bench.core.progress import Silent
from bench.core.values import BASE
from bench.methods.base import AlignmentMethod
from bench.spec.run_spec import RunSpec, build_methods, build_tasks, needs_pairs, stated_tuning
from bench.spec.study import Study
from bench.tasks.base import Task
from bench.tasks.texts.prompts import load_prompt_set, prompt_source

ITEMS: Mapping[str, str] = {
    "toxicity": "prompts",
    "perplexity": "documents",
    "capability": "questions",
    "scrubbing": "sentences of each kind",
    "preference": "held-out pairs",
}
"""What `limit` counts, by the task's name."""


def describe_study(study: Study) -> list[str]:
    """One line for the configuration, one for each row of methods, and one for each measurement.

    Raises:
        UsageError: a method or task cannot be set as asked.
    """
    specs = [specs[0] for specs in study.specs()]
    first = specs[0]
    read_from = first.read_from or "given in Python"
    data = f", pairs {first.pairs.source}, {_grid(study)}" if needs_pairs(first) else ""
    lines = [f"configuration {read_from}: model {', '.join(study.models)}{data}, results in {study.out}"]
    common = _method_lines(first)
    lines += [f"  {line}" for line in common]
    for spec in specs[1:]:
        lines += [f"  on {spec.model}, {line}" for line in _method_lines(spec) if line not in common]
    return [*lines, *(f"  {name}: {_measured(name, task)}" for name, task in build_tasks(first).items())]


def _grid(study: Study) -> str:
    """Rates and seeds, which a command line can mean otherwise than it was read."""
    rates = [rate for specs in study.specs()[:1] for spec in specs for rate in spec.noise.rates]
    seeds = list(study.spec.seeds)
    is_range = len(seeds) > 3 and seeds == list(range(seeds[0], seeds[0] + len(seeds)))
    listed = f"{seeds[0]} to {seeds[-1]}" if is_range else ", ".join(map(str, seeds))
    percent = ", ".join(f"{100 * rate:g} %" for rate in dict.fromkeys(rates))
    return f"noise {percent}, {'seed' if len(seeds) == 1 else 'seeds'} {listed}"


def _method_lines(spec: RunSpec) -> list[str]:
    lines = []
    for name, method in build_methods(spec).items():
        if name == BASE:
            continue
        row = spec.methods[name]
        settings = _differences(row, method)
        kind = str(row.get("use", name))
        tuned = stated_tuning(spec, name)
        found = f" ({tuned.trials} trials on this model and these pairs)" if tuned and tuned.trials else ""
        method_name = "" if kind == name else f"{kind} with "
        lines.append(
            f"{name}: {method_name}{', '.join(settings)}{found}" if settings else f"{name}: defaults of {kind}"
        )
    return lines


def _differences(row: Mapping[str, Any], method: AlignmentMethod) -> list[str]:
    """Those of a row's settings that are not as the method has them where nothing is given."""
    fields = type(method).model_fields
    return [
        f"{key}={','.join(map(str, value)) if isinstance(value, list | tuple) else value}"
        for key, value in row.items()
        if key in fields and getattr(method, key) != fields[key].get_default(call_default_factory=True)
    ]


def _measured(name: str, task: Task) -> str:
    """How many items, of what, and who judges them."""
    settings = task.model_dump()
    tasks = len(settings["tasks"]) if name == "capability" else 0
    source = settings.get("prompts") or settings.get("source")
    items = f"{_count(task, settings)} {ITEMS.get(name, 'items')}" + (f" of each of {tasks} tasks" if tasks else "")
    parts = [source] if source else []
    parts += [f"by protocol {settings['protocol']}"] if "protocol" in settings else []
    parts += [f"judged by {settings['scorer']}"] if settings.get("scorer") else []
    return ", ".join([items, *parts])


def _count(task: Task, settings: Mapping[str, Any]) -> str:
    """How many items are measured; of prompts that are here, all are counted."""
    prompts = settings.get("prompts")
    if task.limit is not None:
        return f"at most {task.limit}" if task.needs_held_out else str(task.limit)
    if prompts is None or prompt_source(prompts).downloads():
        return "all"
    return f"all {len(load_prompt_set(prompts, Silent(), settings.get('merge', 'alike')).prompts)}"
