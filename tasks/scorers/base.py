"""The one interface that every toxicity scorer implements, and what classifiers out of wheels share."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError

from bench.core.code_version import code_version
from bench.core.errors import UsageError
from bench.core.progress import Progress
from bench.core.registry import Registry
from bench.core.store.assets import PypiFile, combined_sha256, fetch
from bench.core.store.conversion import make_once
from bench.core.store.preparable import Preparable


class Scorer(Preparable):
    """Says how toxic texts are, 0 (not at all) to 1. Loaded once, on the first call of `score`."""

    @property
    def name(self) -> str:
        """What people call it, for messages: `scorer` of its identity, or the name of its class."""
        return str(self.identity().get("scorer", type(self).__name__))

    @abstractmethod
    def score(self, texts: Sequence[str]) -> list[float | None]:
        """One score in [0, 1] a text, in order; None where a text cannot be scored, as an empty one."""


class ConvertedScorer(Scorer):
    """A classifier out of wheels of the package index, converted to safetensors once and read as such from then on."""

    scorer: ClassVar[str]
    """Its name, in its identity and in the cache."""
    files: ClassVar[Sequence[PypiFile]]

    @abstractmethod
    def convert(self, sources: Sequence[Path], folder: Path) -> None:
        """Write what `score` reads, `model.safetensors` and `words.json`, made of the published files."""

    def identity(self) -> Mapping[str, Any]:
        files = {asset.locator: asset.sha256 for asset in self.files}
        return {"scorer": self.scorer, "version": 1, **self.model_dump(), "files": files}

    def assets(self) -> Sequence[PypiFile]:
        return self.files

    def prepare(self, progress: Progress) -> None:
        self.folder(progress)

    def folder(self, progress: Progress) -> Path:
        """Where the converted classifier is; made on the first call."""

        def convert(made: Path, _: Path) -> None:
            self.convert(fetch(self.files, progress), made)

        return make_once(f"{self.scorer}-v1", combined_sha256(self.files), convert, progress)


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
