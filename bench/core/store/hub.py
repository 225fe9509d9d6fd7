"""The one place that talks to the Hugging Face hub: which commit a name means, which files it has, and those files.

Publishing alone is elsewhere, in `bench.edit.publish`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from bench.core.errors import BenchError, UsageError
from bench.core.files import write_json
from bench.core.progress import Advance, Progress, Silent
from bench.core.store.cache import home
from bench.core.store.room import free_disk, require_room
from bench.core.values import Value

_COMMIT = re.compile(r"[0-9a-f]{40}")
MODEL_FOLDER = "use a local folder with file:FOLDER"
"""What helps where a model cannot be had from the hub."""


class HubUnreachableError(BenchError):
    """No network, or HF_HUB_OFFLINE is set."""


@dataclass(frozen=True)
class HubCheckpoint:
    """One commit of a repository of the hub; reading a file downloads it."""

    repository: str
    commit: str
    sizes: Mapping[str, int]
    """Bytes of every file, by name."""

    def has(self, name: str) -> bool:
        return name in self.sizes

    def read(self, name: str) -> str:
        folder = download(self.repository, self.commit, {name: self.sizes[name]}, Silent())
        return (folder / name).read_text(encoding="utf-8")


class Receipt(Value):
    """Written when every wanted file of a revision had arrived.

    The hub's own cache cannot tell a whole snapshot from an interrupted one, nor which commit a branch was then.
    """

    commit: str
    files: Mapping[str, int]
    """Bytes by name."""


def read_receipt(repository: str, revision: str) -> Receipt | None:
    """The receipt of a revision that was downloaded whole; None where there is none to read."""
    try:
        return Receipt.model_validate_json(_receipt_path(repository, revision).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_receipt(repository: str, revision: str, receipt: Receipt) -> None:
    """Remember that a revision was downloaded whole."""
    write_json(_receipt_path(repository, revision), receipt.model_dump(mode="json"))


def cached_folder(repository: str, revision: str) -> Path | None:
    """Where the hub's own cache keeps a revision, perhaps in part; None where it has nothing of it."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, "config.json", revision=revision)
    return Path(path).parent if isinstance(path, str) else None


def known_commit(repository: str, revision: str) -> str | None:
    """The commit that a branch, a tag or a commit means, as far as it is known here; the hub is not asked."""
    if _COMMIT.fullmatch(revision):
        return revision
    receipt = read_receipt(repository, revision)
    if receipt is not None:
        return receipt.commit
    folder = cached_folder(repository, revision)
    return None if folder is None else folder.name


def commit_of(repository: str, revision: str) -> str:
    """The commit that a branch, a tag or a commit means.

    What is known here comes first: a branch stays at the commit that was first downloaded, so that a run can be
    resumed although the branch moved on. Name another commit to have another.

    Raises:
        UsageError: the hub has no such repository or revision, or does not let this user have it.
        HubUnreachableError: it is neither cached nor can the hub be asked.
    """
    commit = known_commit(repository, revision)
    if commit is not None:
        return commit
    from huggingface_hub import HfApi

    with _hub_errors(repository, revision):
        return str(HfApi().model_info(repository, revision=revision, timeout=10).sha)


@cache
def current_commit(repository: str, revision: str, otherwise: str = MODEL_FOLDER) -> str:
    """The commit that a branch, a tag or a commit of a model means now; the cache's word where the hub does not answer.

    Asked once a process, so that what a record says was read is what was read, should the branch move meanwhile.

    Arguments:
        otherwise: what to do where neither knows.

    Raises:
        UsageError, HubUnreachableError: see `commit_of`.
    """
    if _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi, errors

    try:
        with _hub_errors(repository, revision, otherwise):
            return str(HfApi().model_info(repository, revision=revision, timeout=20).sha)
    except BenchError as error:
        commit = _cached_commit("model", repository, revision)
        if commit is None or isinstance(error.__cause__, errors.RepositoryNotFoundError):
            raise
        return commit


@cache
def dataset_commit(repository: str, revision: str, remedy: str) -> str:
    """The commit that a branch, a tag or a commit of a data set means now; asked once a process.

    Arguments:
        remedy: what to do where neither hub nor cache knows.

    Raises:
        BenchError: neither knows.
    """
    if _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(repository, revision=revision, timeout=20).sha)
    except Exception as error:  # offline, unknown, private: the cache may still know
        commit = _cached_commit("dataset", repository, revision)
        if commit is None:
            raise BenchError(
                f"cannot look up what '{revision}' of the hub data set {repository} is now ({type(error).__name__}), "
                f"and the hub's cache does not know it; {remedy}"
            ) from error
        return commit


def load_rows(repository: str, config: str | None = None, *, revision: str, split: str, otherwise: str) -> Any:
    """One split of a data set of the hub.

    Arguments:
        otherwise: what to do where it cannot be had.

    Raises:
        BenchError: it cannot be had.
    """
    import datasets

    names = [repository] if config is None else [repository, config]
    try:
        return datasets.load_dataset(*names, revision=revision, split=split)
    except Exception as error:  # datasets raises a family of unrelated types; all mean that it cannot be had
        reason = " ".join(str(error).split())[:300]
        raise BenchError(
            f"cannot load data set {repository} at {revision}, split {split}: {reason}; {otherwise}"
        ) from error


@cache
def published_parameters(repository: str, revision: str) -> int | None:
    """How many parameters the hub counts in a model's safetensors; None where it counts none or does not answer.

    Asked once a process.
    """
    from huggingface_hub import HfApi

    try:
        with _hub_errors(repository, revision):
            counted = HfApi().model_info(repository, revision=revision, timeout=10).safetensors
    except BenchError:
        return None
    return counted.total if counted else None


def file_sizes(repository: str, revision: str, otherwise: str = MODEL_FOLDER) -> dict[str, int]:
    """Every file of a revision and its bytes.

    Raises:
        UsageError, HubUnreachableError: see `commit_of`.
    """
    from huggingface_hub import HfApi

    with _hub_errors(repository, revision, otherwise):
        info = HfApi().model_info(repository, revision=revision, timeout=10, files_metadata=True)
    return {file.rfilename: file.size or 0 for file in info.siblings or []}


def download(
    repository: str, commit: str, sizes: Mapping[str, int], progress: Progress, otherwise: str = MODEL_FOLDER
) -> Path:
    """Download some files of a commit into the hub's own cache; what is there already is not downloaded again.

    Arguments:
        repository: "ORG/NAME".
        commit: 40 hexadecimal digits.
        sizes: files wanted, and their bytes.
        progress: shows the bytes.

    Raises:
        BenchError: the disk has no room for it.
        UsageError, HubUnreachableError: see `commit_of`.
    """
    from huggingface_hub import snapshot_download

    total = sum(sizes.values())
    if free_disk(hub_cache()) < total:
        from huggingface_hub import try_to_load_from_cache

        lacking = {
            name: size
            for name, size in sizes.items()
            if not isinstance(try_to_load_from_cache(repository, name, revision=commit), str)
        }
        remedy = "set HF_HOME to a folder on another disk"
        require_room({hub_cache(): sum(lacking.values())}, f"downloading hub:{repository}", remedy)
    with progress.track(f"download {repository}", total) as advance, _hub_errors(repository, commit, otherwise):
        folder = snapshot_download(
            repository, revision=commit, allow_patterns=list(sizes), tqdm_class=_reporting_bar(advance)
        )
    return Path(folder)


def fetch_config(repository: str, commit: str) -> Path:
    """The folder that holds config.json of a commit, downloaded if need be; no weights.

    Raises:
        UsageError, HubUnreachableError: see `commit_of`.
    """
    from huggingface_hub import hf_hub_download

    with _hub_errors(repository, commit):
        return Path(hf_hub_download(repository, "config.json", revision=commit)).parent


def small_files_folder(repository: str, commit: str, patterns: Sequence[str]) -> Path:
    """The folder of a commit with its files of such names, from the hub or else its cache.

    The hub is asked first whether it is there: its client tries five times for each file before it says that it is not.

    Raises:
        OSError: it does not answer, and the cache has nothing.
    """
    from huggingface_hub import HfApi, errors, snapshot_download

    try:
        HfApi().model_info(repository, revision=commit, timeout=20)
    except Exception as error:  # httpx, its successors and OSError: whichever the installed version raises
        try:
            return Path(snapshot_download(repository, revision=commit, local_files_only=True))
        except errors.LocalEntryNotFoundError:
            raise OSError(_reason(error)) from error
    return Path(snapshot_download(repository, revision=commit, allow_patterns=list(patterns)))


def hub_cache() -> Path:
    """Where the hub's client keeps what it downloads."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids asking the hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _receipt_path(repository: str, revision: str) -> Path:
    return home() / "hub" / f"{repository}@{revision}.json".replace("/", "--")


def _cached_commit(kind: Literal["model", "dataset"], repository: str, revision: str) -> str | None:
    """What a branch or tag was when the hub's client last asked; None where it never did."""
    reference = hub_cache() / f"{kind}s--{repository.replace('/', '--')}" / "refs" / revision
    return reference.read_text(encoding="utf-8").strip() if reference.is_file() else None


def _reason(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


def _reporting_bar(advance: Advance) -> Any:
    """A tqdm class that shows nothing and passes the bytes on; bars that count files or raw transfer are ignored."""
    from huggingface_hub.utils.tqdm import tqdm

    class ReportingBar(tqdm):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            self.counts = settings.get("unit") == "B" and settings.get("desc") != "Downloading bytes"
            parent: Any = super()  # it has no types
            parent.__init__(*arguments, **(settings | {"disable": True}))

        def update(self, n: float | None = 1) -> None:
            if self.counts and n:
                advance(n)

    return ReportingBar


@contextmanager
def _hub_errors(repository: str, revision: str, otherwise: str = MODEL_FOLDER) -> Iterator[None]:
    """Says in one line what the hub's many kinds of error mean for the user. Around calls of the hub alone."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise UsageError(
            f"hub:{repository} is gated: accept its terms on its page of the hub and log in with `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UsageError(f"hub:{repository} has no revision '{revision}'") from error
    except errors.RepositoryNotFoundError as error:
        raise UsageError(
            f"the hub has no model '{repository}', or it is private: check the name, or log in with `hf auth login`"
        ) from error
    except Exception as error:  # httpx, its successors and OSError: whichever the installed version raises
        reason = "HF_HUB_OFFLINE is set" if is_offline() else _reason(error)
        raise HubUnreachableError(
            f"hub:{repository} is not in the cache as a whole and cannot be downloaded: {reason.splitlines()[0]}. Run "
            f"`hf download {repository} --revision {revision}` where there is a network and copy its cache (HF_HOME) "
            f"here, or {otherwise}"
        ) from error
