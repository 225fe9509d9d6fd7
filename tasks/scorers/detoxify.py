"""Detoxify, the classifier most papers on detoxification report, from its published or a local checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import StringConstraints, TypeAdapter, model_validator

from bench.core.errors import BenchError, UsageError
from bench.core.files import expanded, write_json
from bench.core.hashing import sha256_json
from bench.core.progress import Progress, Silent
from bench.core.registry import unknown
from bench.core.store import hub
from bench.core.store.cache import file_sha256
from bench.core.store.conversion import converted_path, make_once
from bench.core.values import Value
from bench.tasks.scorers.base import Scorer
from bench.tasks.scorers.classifier_folder import (
    SMALL,
    check_vocabulary,
    column_of,
    read_classifier_config,
    refuse_code,
    small_files,
)

WEIGHT_FILES = ("model.safetensors", "*.ckpt")
CONVERSION = "detoxify-v2"
SOURCE = "source.json"
"""In a converted folder: the hash of the weights file that it was made of."""

Variant = Literal["original", "unbiased", "multilingual", "original-small", "unbiased-small"]


class Release(Value):
    """A published checkpoint; releases.yaml says what is what."""

    url: str
    sha256_prefix: str
    encoder: str
    revision: str
    labels: tuple[str, ...]


RELEASED: Mapping[Variant, Release] = TypeAdapter(dict[Variant, Release]).validate_python(
    yaml.safe_load(Path(__file__).with_name("releases.yaml").read_text(encoding="utf-8"))
)


class Detoxify(Scorer):
    """Probability of one of Detoxify's labels; of a text longer than its window, the highest over its windows.

    Nothing that a checkpoint holds is ever run: it is read as weights alone, and kept as safetensors from then on.

    Reference: Hanu and Unitary team 2020, https://github.com/unitaryai/detoxify.
    """

    references = (
        """
@misc{hanu2020detoxify,
  title        = {Detoxify},
  author       = {Hanu, Laura and Thewlis, James and {Unitary team}},
  howpublished = {Github. https://github.com/unitaryai/detoxify},
  year         = {2020}
}
""",
    )

    variant: Variant = "original"
    """Published checkpoint to download; without effect where `checkpoint` is given."""
    checkpoint: Path | None = None
    """A folder with weights (a Detoxify `.ckpt` or `model.safetensors`), config.json and the tokenizer's files; or the
    weights file itself, with the others beside it."""
    sha256: Annotated[str, StringConstraints(to_lower=True, pattern="^[0-9a-fA-F]{64}$")] | None = None
    """What the weights file must hash to; None to take it as it is. Published ones carry 8 digits of it in any case."""
    label: str = "toxicity"

    @model_validator(mode="after")
    def _label_exists(self) -> Detoxify:
        labels = RELEASED[self.variant].labels
        if self.checkpoint is None and self.label not in labels:
            raise unknown(f"label of Detoxify {self.variant}", self.label, labels)
        return self

    def identity(self) -> Mapping[str, Any]:
        return {"scorer": "detoxify", "version": 1, "label": self.label, **self._weights()}

    def downloads(self) -> list[str]:
        release = RELEASED[self.variant]
        if self.checkpoint is not None or converted_path(CONVERSION, sha256_json(self._weights())).is_dir():
            return []
        return [f"{release.url} and hub:{release.encoder}@{release.revision}"]

    def prepare(self, progress: Progress) -> None:
        column_of(self._folder(progress), self.label)

    def score(self, texts: Sequence[str]) -> list[float | None]:
        from bench.tasks.scorers.sequence_classifier import loaded

        folder = self._folder(Silent())
        column = column_of(folder, self.label)
        return loaded(folder, sha256_json(self._weights())).score(texts, column, "sigmoid")

    def _weights(self) -> dict[str, Any]:
        if self.checkpoint is not None:
            return {"files": {path.name: file_sha256(path) for path in local_files(self.checkpoint)}}
        release = RELEASED[self.variant]
        encoder = f"{release.encoder}@{release.revision}"
        return {"variant": self.variant, "sha256": release.sha256_prefix, "encoder": encoder}

    def _folder(self, progress: Progress) -> Path:
        """The classifier in transformers' own layout, made on first use."""
        if self.checkpoint is not None:
            weights = local_files(self.checkpoint)[0]
            self._check_hash(weights, file_sha256(weights))
        version = sha256_json(self._weights())
        folder = make_once(CONVERSION, version, lambda made, temporary: self._make(made, temporary, progress), progress)
        self._check_hash(Path(folder.name), json.loads((folder / SOURCE).read_text(encoding="utf-8"))["sha256"])
        return folder

    def _make(self, folder: Path, temporary: Path, progress: Progress) -> None:
        from bench.tasks.scorers import checkpoints

        if self.checkpoint is not None:
            weights = local_files(self.checkpoint)[0]
        else:
            weights = download_checkpoint(RELEASED[self.variant], temporary / "source", progress)
        digest = file_sha256(weights)
        self._check_hash(weights, digest)
        with progress.track(f"convert {weights.name}", None):
            checkpoints.convert_checkpoint(weights, weights.parent, folder)
        write_json(folder / SOURCE, {"sha256": digest})

    def _check_hash(self, weights: Path, digest: str) -> None:
        if self.sha256 is not None and digest != self.sha256:
            raise UsageError(f"{weights} has sha256 {digest} where scorer_settings ask for {self.sha256}")


def download_checkpoint(release: Release, folder: Path, progress: Progress) -> Path:
    """Fetch a published checkpoint into `folder`, with its encoder's configuration and tokenizer beside it; its path.

    Raises:
        BenchError: it cannot be had, or has another hash than its name says.
    """
    from torch.hub import download_url_to_file
    from transformers import AutoConfig, AutoTokenizer

    target = folder / Path(release.url).name
    try:
        with progress.track(f"download {target.name} and {release.encoder}", None):
            # The small files first: where they cannot be had, hundreds of megabytes need not be fetched.
            patterns = [f"*{ending}" for ending in sorted(SMALL)]
            encoder = hub.small_files_folder(release.encoder, release.revision, patterns)
            AutoConfig.from_pretrained(encoder, local_files_only=True).save_pretrained(folder)
            AutoTokenizer.from_pretrained(encoder, local_files_only=True).save_pretrained(folder)
            download_url_to_file(release.url, str(target), release.sha256_prefix, progress=False)
    except (OSError, RuntimeError) as error:  # no network, not found; a hash that differs
        reason = str(error).splitlines()[0].rstrip(".")
        raise BenchError(
            f"Detoxify cannot be fetched from {release.url} and the hub's {release.encoder}: {reason}. Put its "
            "checkpoint, config.json and the tokenizer's files into one folder and name it in scorer_settings: "
            '{"checkpoint": "FOLDER"}, or take another scorer, bilstm or linear'
        ) from error
    return target


def local_files(location: Path) -> list[Path]:
    """The weights that `location` holds or is, and then all else beside them that a score depends on.

    Arguments:
        location: a folder with one weights file, or a weights file.

    Raises:
        UsageError: no such file or folder, or it lacks weights, configuration or tokenizer, or names code of its own.
    """
    advice = "a folder with a Detoxify .ckpt (or model.safetensors), config.json and the tokenizer's files is needed"
    location = expanded(location)
    if location.is_file():
        weights, folder = [location], location.parent
    elif location.is_dir():
        weights, folder = [path for pattern in WEIGHT_FILES for path in sorted(location.glob(pattern))], location
    else:
        raise UsageError(f"there is no Detoxify checkpoint {location}; {advice}")
    if len(weights) != 1:
        names = ", ".join(path.name for path in weights) or "none"
        raise UsageError(f"one weights file is needed in {folder}, found {names}; {advice}, or the path of the file")
    try:
        read_classifier_config(folder)
        check_vocabulary(folder)
    except UsageError as error:
        raise UsageError(f"{error}; {advice}") from error
    refuse_code(folder)
    return [*weights, *(path for path in small_files(folder) if path.name != SOURCE)]
