"""What `bench list` and `bench schema` print."""

import json

from rich.table import Table
from rich.text import Text

from bench.core.errors import UsageError
from bench.core.registry import Registry
from bench.display.console import RESULT, write_line


def show_listing(what: str) -> None:
    """The names of one kind and what each is."""
    from bench.methods.base import METHODS
    from bench.models.sources import MODELS
    from bench.spec.run_spec import read_yaml, shipped_configs
    from bench.tasks.base import TASKS
    from bench.tasks.scorers.base import SCORERS

    if what == "models":
        rows = [(name, f"{entry.locator}  ({entry.licence})") for name, entry in MODELS.items()]
    elif what == "configs":
        rows = [(name, str(read_yaml(path).get("model", ""))) for name, path in shipped_configs().items()]
    else:
        registry: Registry[object] = {"methods": METHODS, "tasks": TASKS, "scorers": SCORERS}[what]  # type: ignore[assignment]
        rows = [(name, _describe(registry, name)) for name in registry]
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    RESULT.print(table)


def _describe(registry: Registry[object], name: str) -> str:
    """First line of a class's docstring, its settings with their defaults, and what of it cannot be used and why."""
    from bench.methods.base import AlignmentMethod

    try:
        cls = registry[name]
    except (ImportError, UsageError) as error:  # a plug-in of an earlier version, say
        return f"not available: {error}"
    lines = [(cls.__doc__ or "").strip().splitlines()[0], _settings(cls)]
    if issubclass(cls, AlignmentMethod):
        missing = cls.unavailable()
        lines = [*([f"not available: {missing}"] if missing is not None else []), *lines, *cls.restrictions()]
    return "\n".join(filter(None, lines))


def _settings(cls: type[object]) -> str:
    """A class's settings with their defaults; of a control's only those that differ from what it is a control of."""
    from bench.methods.base import METHODS

    fields = getattr(cls, "model_fields", {})
    controlled = getattr(cls, "control_of", None)
    others = {} if controlled is None else METHODS[controlled].model_fields
    parts = [
        f"{key}={'(required)' if field.is_required() else field.get_default(call_default_factory=True)}"
        for key, field in fields.items()
        if key not in others or field.annotation != others[key].annotation
    ]
    return ", ".join(parts if controlled is None else [*parts, f"settings of {controlled}, as its row has them"])


def show_schema() -> None:
    """The JSON Schema of a record."""
    from bench.leaderboard.records.record import record_schema

    write_line(json.dumps(record_schema(), indent=2))
