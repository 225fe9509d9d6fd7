"""A grid of cells as it is asked for: a run's settings with several models and noise models, read and amended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from bench.core.errors import UsageError
from bench.core.values import BASE, Value
from bench.leaderboard.records.layout import CONFIG, config_path
from bench.methods.base import METHODS
from bench.spec.messages import validated
from bench.spec.overrides import assign, distinct_parts, parse_seeds, split_integers, split_numbers
from bench.spec.resolve import Assignment, for_model, resolve_spec
from bench.spec.run_spec import RunSpec, aligns, find_config, read_yaml
from bench.spec.tuned_rows import with_own_scope

REPEATABLE = (("models",), ("noise", "models"), ("noise", "rates"), ("pairs", "sizes"), ("seeds",))
"""Where a study lists values of which each is taken once, however often it stands there."""
AMENDABLE: Mapping[str, tuple[str, ...]] = {
    "seeds": ("seeds",),
    "rates": ("noise", "rates"),
    "sizes": ("pairs", "sizes"),
    "methods": ("methods",),
    "models": ("models",),
    "noise": ("noise", "models"),
}
"""What `--amend` can add to, and where that stands in a study file."""


class Study(Value):
    """Every combination of models, noise models and all that a run's settings list."""

    spec: RunSpec
    """With the first model and the first noise model."""
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    noise_models: Annotated[tuple[str, ...], Field(min_length=1)]

    @classmethod
    def of_run(cls, spec: RunSpec) -> Study:
        """The study that a run is: of one model and one noise model."""
        return cls(spec=spec, models=(spec.model,), noise_models=(spec.noise.model,))

    @property
    def out(self) -> Path:
        """The study's directory."""
        return self.spec.out

    def specs(self) -> list[list[RunSpec]]:
        """The runs that the study consists of, those of one model together; rates are all that are measured.

        No label is corrupted at rate 0, whatever the noise model, so that only the first one has that rate.
        """
        asked = self.spec.noise
        rates = (0.0, *asked.rates) if asked.adds_clean_twin else asked.rates
        corrupting = tuple(rate for rate in rates if rate > 0)
        noises = [
            asked.model_copy(
                update={"model": name, "rates": corrupting if index else rates, "clean_twin": False}  # added by now
            )
            for index, name in enumerate(self.noise_models)
        ]
        return [
            [for_model(self.spec, model).model_copy(update={"noise": noise}) for noise in noises if noise.rates]
            for model in self.models
        ]

    def settings(self) -> dict[str, Any]:
        """What a study file that asks for this holds; a run's where there is one model and one noise model."""
        settings = self.spec.model_dump(mode="json")
        if len(self.models) > 1:
            rows = self.spec.written or self.spec.methods  # each model's own are made of these
            settings["methods"] = {name: dict(rows[name]) for name in self.spec.methods}
            settings = {"models": list(self.models)} | {key: settings[key] for key in settings if key != "model"}
        if len(self.noise_models) > 1:
            settings["noise"] = {"models": list(self.noise_models), **_plain(settings["noise"], "model")}
        return settings

    @property
    def additions(self) -> list[str]:
        """One line for each thing that is measured though nobody named it, or left out though a file has it."""
        notes = list(dict.fromkeys(note for specs in self.specs() for spec in specs for note in spec.notes))
        if not self.spec.noise.adds_clean_twin or not aligns(self.spec):
            return notes
        rates = ", ".join(f"{100 * rate:g} %" for rate in self.spec.noise.rates)
        return [
            *notes,
            f"noise {rates}: every method is measured without noise as well (its clean twin), as only that tells what "
            "the noise did; --no-clean-twin leaves it out",
        ]


class StudyRequest(NamedTuple):
    """A study and what there is to say of how it was read."""

    study: Study
    notes: Sequence[str]


def read_study(
    target: str | None,
    *,
    methods: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    flags: Sequence[Assignment] = (),
    limit: int | None = None,
    scorer: str | None = None,
    assignments: Sequence[str] = (),
    amendments: Sequence[str] = (),
) -> StudyRequest:
    """The study that a command line asks for.

    Arguments:
        target: a study file or the name of a shipped one, or the directory of one that ran; None for the quickstart.
        methods, tasks: the only ones; settings that the file has for them are kept.
        flags: places in the file and what to put there.
        limit: items for every task.
        scorer: of the toxicity task.
        assignments: `key=value` texts of --set.
        amendments: `key=values` texts of --amend, which add to what the study had when it last ran.

    Raises:
        UsageError: says which key, what was found there and what is allowed, or that there is nothing in the grid.
    """
    path = _study_file(target, amended=bool(amendments))
    settings = with_own_scope(read_yaml(path), str(path))
    if path.name == CONFIG and target is not None and Path(target).is_dir():
        settings["out"] = target
    of_tasks = [(keys, value) for keys, value in flags if keys[0] == "tasks"]
    for keys, value in (flag for flag in flags if flag not in of_tasks):
        if list(keys) == ["model"]:  # a flag for one model takes the place of a list of them
            settings = _plain(settings, "models")
        settings = assign(settings, keys, value)
    notes: list[str] = []
    for text in amendments:
        settings = _amend(settings, text, notes)
    settings = _merge_repeats(settings, notes)
    spec_settings, models, noises = _take_lists(settings, str(path))
    specs = [
        resolve_spec(
            str(path),
            settings=assign(assign(spec_settings, ["model"], model), ["noise", "model"], noise),
            methods=methods,
            tasks=tasks,
            flags=of_tasks,
            limit=limit,
            scorer=scorer,
            assignments=assignments,
        )
        for model, noise in [*((model, noises[0]) for model in models), *((models[0], noise) for noise in noises)]
    ]
    study = validated(Study, {"spec": specs[0], "models": models, "noise_models": noises}, str(path))
    if methods is None and not any(name != BASE for name in study.spec.methods):
        raise UsageError(
            f"{path}: methods: the grid is empty, as there is no method besides '{BASE}'; name at least one, or give "
            f"--methods {BASE} to measure the model alone"
        )
    return StudyRequest(study, notes)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line for each setting in which two studies differ; where results go and how fast are no such settings."""
    ignored = ("out", "device", "batch_size")
    old, new = dict(_leaves(before)), dict(_leaves(now))
    changed = [key for key in old | new if key not in ignored and old.get(key) != new.get(key)]
    return [f"{key}: {old.get(key, 'not set')} → {new.get(key, 'not set')}" for key in changed]


def stored_settings(directory: Path) -> dict[str, Any] | None:
    """The settings of a directory's newest run in full; None where there are none that this version understands."""
    path = config_path(directory)
    if not path.is_file():
        return None
    try:
        settings, models, noises = _take_lists(read_yaml(path), str(path))
        spec = validated(RunSpec, assign(assign(settings, ["model"], models[0]), ["noise", "model"], noises[0]), "")
    except UsageError:
        return None
    return Study(spec=spec, models=tuple(models), noise_models=tuple(noises)).settings()


def _study_file(target: str | None, *, amended: bool) -> Path:
    """The file to read; of a study that is amended, what it was when it last ran."""
    if target is not None and Path(target).is_dir():
        path = config_path(Path(target))
        if not path.is_file():
            raise UsageError(f"{path} is not there: give a study file, or the directory of a study that ran")
        return path
    path = find_config(target)
    if amended:
        stored = config_path(Path(read_yaml(path).get("out") or RunSpec().out))
        return stored if stored.is_file() else path
    return path


def _take_lists(settings: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[str], list[str]]:
    """A run's settings, and the models and noise models that a study's have in place of one each."""
    noise = settings.get("noise") or {}
    if not isinstance(noise, Mapping):
        raise UsageError(f"{where}: noise: give a mapping of settings; found {noise!r}")
    models = _one_or_list(settings, "model", "models", str(RunSpec().model), where)
    noises = _one_or_list(noise, "model", "models", "flip", f"{where}: noise")
    return _plain(settings, "models") | {"noise": _plain(noise, "models")}, models, noises


def _one_or_list(settings: Mapping[str, Any], one: str, many: str, default: str, where: str) -> list[str]:
    if many not in settings:
        return [settings.get(one, default)]
    if one in settings:
        raise UsageError(f"{where}: '{one}' and '{many}' both stand there; keep one of them")
    values = settings[many]
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise UsageError(f"{where}: {many}: give a list of at least one name; found {values!r}")
    return values


def _merge_repeats(settings: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    for keys in REPEATABLE:
        values = _at(settings, keys)
        if isinstance(values, list) and all(value is None or isinstance(value, str | int | float) for value in values):
            merged = list(dict.fromkeys(values))
            repeated = [value for value in merged if values.count(value) > 1]
            if repeated:
                shown = ", ".join("all" if value is None else str(value) for value in repeated)
                notes.append(f"{'.'.join(keys)}: {shown} stands there more than once and is taken once")
                settings = assign(settings, keys, merged)
    return settings


def _amend(settings: dict[str, Any], text: str, notes: list[str]) -> dict[str, Any]:
    """What `settings` become when the values in `key=values` are added to those that are there."""
    key, equals, values = (part.strip() for part in text.partition("="))
    if key not in AMENDABLE or not equals or not values:
        raise UsageError(f"--amend takes KEY=VALUES with KEY one of {', '.join(AMENDABLE)}; found '{text}'")
    keys = AMENDABLE[key]
    if key == "methods":
        there = settings.get("methods", dict(RunSpec().methods)) or {}
        names = distinct_parts(values)
        unknown = [name for name in names if name not in METHODS and name not in there]
        if unknown:
            raise UsageError(f"--amend methods: no method '{unknown[0]}'; `bench list methods` names them")
        return assign(settings, keys, {**there, **{name: {} for name in names if name not in there}})
    if keys[-1] == "models":
        one = _at(settings, (*keys[:-1], "model")) or (RunSpec().model if key == "models" else "flip")
        there = _at(settings, keys) or [one]
        outer = _at(settings, keys[:-1]) or {}
        settings = assign(settings, keys[:-1], _plain(outer, "model")) if keys[:-1] else _plain(settings, "model")
        return assign(settings, keys, _union(there, distinct_parts(values)))
    default = {"seeds": RunSpec().seeds, "rates": RunSpec().noise.rates, "sizes": RunSpec().pairs.sizes}[key]
    there = _at(settings, keys) or list(default)
    parsers: Mapping[str, Callable[[str, str], Sequence[Any]]] = {
        "seeds": parse_seeds,
        "rates": parse_rates,
        "sizes": parse_sizes,
    }
    more = list(parsers[key](values, f"--amend {key}"))
    amended = _union(there, more)
    if amended == there:
        notes.append(f"--amend {text}: all of them were there already")
    return assign(settings, keys, amended)


def parse_rates(text: str, flag: str) -> list[float]:
    """Shares of pairs, each once."""
    return split_numbers(",".join(distinct_parts(text)), flag)


def parse_sizes(text: str, flag: str) -> list[int | None]:
    """Numbers of pairs, of which `all` is one."""
    return [None if part == "all" else split_integers(part, flag)[0] for part in distinct_parts(text)]


def _union(there: Sequence[Any], more: Sequence[Any]) -> list[Any]:
    values = list(dict.fromkeys([*there, *more]))
    numbers = [value for value in values if isinstance(value, int | float)]
    return [*sorted(numbers), *(value for value in values if not isinstance(value, int | float))]


def _plain(settings: Mapping[str, Any], without: str) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != without}


def _at(settings: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        settings = settings.get(key) if isinstance(settings, Mapping) else None
    return settings


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
