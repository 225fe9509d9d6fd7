"""Any sequence classifier of transformers as a scorer, from the Hugging Face hub or from a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from bench.core.errors import UsageError
from bench.core.files import expanded, require_file
from bench.core.hashing import sha256_json
from bench.core.progress import Progress, Silent
from bench.core.store.cache import file_sha256
from bench.core.store.conversion import make_once
from bench.core.store.hub import current_commit
from bench.core.store.weight_files import LocalCheckpoint, lacking_weights
from bench.tasks.scorers.base import FORMS, HUB, Scorer
from bench.tasks.scorers.classifier_folder import (
    OTHERWISE,
    activation_of,
    cached_snapshot,
    check_folder,
    column_of,
    read_classifier_config,
    small_files,
    snapshot,
    weight_paths,
)

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class ClassifierLocator:
    """What a locator names."""

    label: str
    folder: Path | None
    repository: str = ""
    revision: str = ""


class HubClassifier(Scorer):
    """Probability of one label of a sequence classifier; of a text longer than its window, the highest over windows.

    Only weights are read, safetensors or PyTorch's own (which are converted once); code that comes with a classifier
    is never run.
    """

    locator: str
    """ORG/NAME[@COMMIT]#LABEL on the hub, or FOLDER#LABEL; the label by its name or its number.

    What begins with `.`, `/` or `~`, and what is a folder here, is a folder."""
    activation: Literal["auto", "sigmoid", "softmax"] = "auto"
    """How outputs become probabilities; "auto" goes by the classifier's own configuration."""

    @model_validator(mode="after")
    def _is_locator(self) -> HubClassifier:
        parse(self.locator)
        return self

    @property
    def name(self) -> str:
        return f"{HUB}{self.locator}"

    def identity(self) -> Mapping[str, Any]:
        label = parse(self.locator).label
        return {"scorer": "hf", "version": 1, "label": label, "activation": self.activation, **self._source()}

    def downloads(self) -> list[str]:
        location = parse(self.locator)
        if location.folder is not None or cached_snapshot(location.repository, self._source()["commit"]) is not None:
            return []
        return [f"hub:{location.repository}@{self._source()['commit']}"]

    def prepare(self, progress: Progress) -> None:
        folder = self._folder(progress)
        column_of(folder, parse(self.locator).label)
        activation_of(folder, self.activation)
        _check_weights(folder, sha256_json(self._source()))

    def score(self, texts: Sequence[str]) -> list[float | None]:
        from bench.tasks.scorers.sequence_classifier import loaded

        folder = self._folder(Silent())
        column = column_of(folder, parse(self.locator).label)
        classifier = loaded(folder, sha256_json(self._source()))
        return classifier.score(texts, column, activation_of(folder, self.activation))

    def _source(self) -> dict[str, Any]:
        """What is scored with, pinned: a commit, or the hashes of the files in a folder."""
        location = parse(self.locator)
        if location.folder is None:
            commit = current_commit(location.repository, location.revision or "main", OTHERWISE)
            return {"repository": location.repository, "commit": commit}
        files = [*local_weights(location.folder), *small_files(location.folder)]
        return {"files": {path.relative_to(location.folder).as_posix(): file_sha256(path) for path in files}}

    def _folder(self, progress: Progress) -> Path:
        """The classifier's folder, with safetensors in it."""
        location = parse(self.locator)
        if location.folder is None:
            folder = snapshot(location.repository, self._source()["commit"], progress)
        else:
            folder = location.folder
            check_folder(folder)
        weights = local_weights(folder)
        if weights[0].suffix == ".safetensors":
            return folder

        def convert(made: Path, temporary: Path) -> None:
            from bench.tasks.scorers.checkpoints import convert_weights

            with progress.track(f"convert {weights[0].name} to safetensors", None):
                convert_weights(weights, small_files(folder), made)

        return make_once("classifier-v1", sha256_json(self._source()), convert, progress)


def parse(locator: str) -> ClassifierLocator:
    """What a locator names; nothing is looked up.

    Raises:
        UsageError: it has another form, or no label.
    """
    where, _, label = locator.rpartition("#")
    if not where or not label:
        raise UsageError(f"'{HUB}{locator}' names no label that means toxic; write {FORMS}")
    folder = expanded(where)
    if where.startswith((".", "/", "~")) or folder.is_dir():
        return ClassifierLocator(label, folder)
    repository, _, revision = where.partition("@")
    if not _REPOSITORY.fullmatch(repository):
        raise UsageError(f"'{where}' is neither a folder nor a model of the hub; write {FORMS}")
    return ClassifierLocator(label, None, repository, revision)


def local_weights(folder: Path) -> list[Path]:
    """The weights files in `folder`.

    Raises:
        UsageError: there is no such folder, or it lacks configuration or weights.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}; write {FORMS}")
    read_classifier_config(folder)
    weights = weight_paths(folder)
    if not weights:
        raise UsageError(f"{folder} lacks {lacking_weights(LocalCheckpoint(folder))}")
    for path in (*weights, *small_files(folder)):
        require_file(path, "classifier's file", f"write {FORMS}")
    return weights


@cache
def _check_weights(folder: Path, version: str) -> None:
    """Load the classifier once and let it go: what is wrong with its weights shows before a model is aligned."""
    from bench.tasks.scorers.sequence_classifier import load_classifier

    load_classifier(folder)
