"""What `bench list` and `bench schema` print."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

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
    print_rows(rows)


def _describe(registry: Registry[object], name: str) -> str:
    """First line of a class's docstring, and its settings with their defaults; or why it cannot be used."""
    try:
        cls = registry[name]
    except ImportError as error:
        return f"not available: {error}"
    settings = _settings(cls)
    summary = (cls.__doc__ or "").strip().splitlines()[0]
    missing, restrictions = _availability(cls)
    return "\n".join(line for line in (missing, summary, settings, *restrictions) if line)


def _settings(cls: type[object]) -> str:
    """A class's settings with their defaults; of a control's only those that differ from what it is a control of."""
    from bench.methods.base import METHODS

    fields = getattr(cls, "model_fields", {})
    defaults = {
        key: "(required)" if field.is_required() else field.get_default(call_default_factory=True)
        for key, field in fields.items()
    }
    controlled = getattr(cls, "control_of", None)
    if controlled is None:
        return ", ".join(f"{key}={value}" for key, value in defaults.items())
    others = METHODS[controlled].model_fields
    own = [
        f"{key}={value}"
        for key, value in defaults.items()
        if key not in others or fields[key].annotation != others[key].annotation
    ]
    return ", ".join([*own, f"settings of {controlled}, as its row has them"])


def _availability(cls: type[object]) -> tuple[str, Sequence[str]]:
    """Why a method cannot be used here, empty where it can, and which of its settings cannot."""
    from bench.methods.base import AlignmentMethod

    if not issubclass(cls, AlignmentMethod):
        return "", ()
    missing = cls.unavailable()
    return "" if missing is None else f"not available: {missing}", cls.restrictions()


def print_rows(rows: Iterable[Sequence[str]]) -> None:
    """Plain columns."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    RESULT.print(table)


def show_schema() -> None:
    """The JSON Schema of a record."""
    from bench.leaderboard.records.record import record_schema

    write_line(json.dumps(record_schema(), indent=2))
