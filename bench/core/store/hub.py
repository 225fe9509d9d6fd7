"""What is asked of the Hugging Face hub: which commit a name means, which files it has, and those files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.core.errors import BenchError, UsageError
from bench.core.files import write_json
from bench.core.progress import Advance, Progress
from bench.core.store.cache import home
from bench.core.values import Value

_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubUnreachableError(BenchError):
    """No network, or HF_HUB_OFFLINE is set."""


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
    except (OSError, ValidationError):
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
    known = known_commit(repository, revision)
    if known is not None:
        return known
    from huggingface_hub import HfApi

    with _hub_errors(repository, revision):
        return str(HfApi().model_info(repository, revision=revision, timeout=10).sha)


def file_sizes(repository: str, revision: str) -> dict[str, int]:
    """Every file of a revision and its bytes.

    Raises:
        UsageError, HubUnreachableError: see `commit_of`.
    """
    from huggingface_hub import HfApi

    with _hub_errors(repository, revision):
        found = HfApi().model_info(repository, revision=revision, timeout=10, files_metadata=True)
    return {file.rfilename: file.size or 0 for file in found.siblings or []}


def download(repository: str, commit: str, sizes: Mapping[str, int], progress: Progress) -> Path:
    """Download some files of a commit into the hub's own cache; what is there already is not downloaded again.

    Arguments:
        repository: "ORG/NAME".
        commit: 40 hexadecimal digits.
        sizes: files wanted, and their bytes.
        progress: shows the bytes.

    Raises:
        UsageError, HubUnreachableError: see `commit_of`.
    """
    from huggingface_hub import snapshot_download

    with progress.track(f"download {repository}", sum(sizes.values())) as advance, _hub_errors(repository, commit):
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


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids asking the hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _receipt_path(repository: str, revision: str) -> Path:
    return home() / "hub" / f"{repository}@{revision}.json".replace("/", "--")


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
def _hub_errors(repository: str, revision: str) -> Iterator[None]:
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
        reason = "HF_HUB_OFFLINE is set" if is_offline() else (str(error).strip() or type(error).__name__)
        raise HubUnreachableError(
            f"hub:{repository} is not in the cache as a whole and cannot be downloaded: {reason.splitlines()[0]}. Run "
            f"`hf download {repository} --revision {revision}` where there is a network and copy its cache (HF_HOME) "
            "here, or use a local folder with file:FOLDER"
        ) from error
