"""Classifiers on the Hugging Face hub: which commit a name means, and its files, the small ones first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from bench.core.errors import BenchError, UsageError
from bench.core.progress import Progress
from bench.tasks.scorers.classifier_folder import SMALL, check_folder, weight_files

_COMMIT = re.compile(r"[0-9a-f]{40}")
WEIGHTS = (r"model(-\d+-of-\d+)?\.safetensors", r"pytorch_model(-\d+-of-\d+)?\.bin")
"""Names of weights files, as regular expressions; the first of which a repository has any is taken."""


@cache
def commit_of(repository: str, revision: str) -> str:
    """The commit that a branch, a tag or a commit means: asked of the hub, or of its cache where it does not answer.

    Arguments:
        repository: "ORG/NAME".
        revision: "" for the main branch.

    Raises:
        UsageError: the hub has no such model or revision, or does not let this user have it.
        BenchError: neither hub nor cache can say.
    """
    if _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi, errors

    branch = revision or "main"
    try:
        with _hub_errors(repository, branch):
            return str(HfApi().model_info(repository, revision=branch, timeout=20).sha)
    except BenchError as error:
        reference = _cache_folder(repository) / "refs" / branch
        if isinstance(error.__cause__, errors.RepositoryNotFoundError) or not reference.is_file():
            raise
        return reference.read_text(encoding="utf-8").strip()


def cached_snapshot(repository: str, commit: str) -> Path | None:
    """The folder of a commit in the hub's cache; None where it lacks configuration or weights."""
    folder = _cache_folder(repository) / "snapshots" / commit
    return folder if (folder / "config.json").is_file() and weight_files(folder) else None


def snapshot(repository: str, commit: str, progress: Progress) -> Path:
    """The folder of a commit with all that a classifier needs, downloaded where it is not cached.

    Configuration and vocabulary come first, and are checked, so that no weights are downloaded in vain.

    Raises:
        UsageError: it is no sequence classifier, asks for code of its own, or has no weights.
        BenchError: it is neither cached nor can be downloaded.
    """
    folder = cached_snapshot(repository, commit)
    if folder is not None:
        check_folder(folder)
        return folder
    from huggingface_hub import HfApi, snapshot_download

    with progress.track(f"download {repository}", None), _hub_errors(repository, commit):
        names = [name for name in HfApi().list_repo_files(repository, revision=commit) if "/" not in name]
        small = [name for name in names if Path(name).suffix in SMALL]
        folder = Path(snapshot_download(repository, revision=commit, allow_patterns=small))
        check_folder(folder)
        snapshot_download(repository, revision=commit, allow_patterns=_weights(names, repository))
    return folder


def _weights(names: Sequence[str], repository: str) -> list[str]:
    for pattern in WEIGHTS:
        found = [name for name in names if re.fullmatch(pattern, name)]
        if found:
            return found
    raise UsageError(f"hub:{repository} has neither model.safetensors nor pytorch_model.bin; take another classifier")


def _cache_folder(repository: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


@contextmanager
def _hub_errors(repository: str, revision: str) -> Iterator[None]:
    """Says in one line what the hub's many kinds of error mean for the user. Around calls of the hub alone."""
    from huggingface_hub import errors

    try:
        yield
    except BenchError:
        raise
    except errors.GatedRepoError as error:
        raise UsageError(
            f"hub:{repository} is gated: accept its terms on its page of the hub and log in with `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UsageError(f"hub:{repository} has no revision '{revision}'") from error
    except errors.RepositoryNotFoundError as error:
        raise UsageError(f"the hub has no model '{repository}', or it is private: check the name or log in") from error
    except Exception as error:  # httpx, its successors and OSError: whichever the installed version raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BenchError(
            f"classifier hub:{repository} at '{revision}' is not cached as a whole and the hub does not answer "
            f"({reason}). Run `hf download {repository} --revision {revision}` where there is a network and copy its "
            "cache (HF_HOME) here, or name a local folder: hf:FOLDER#LABEL"
        ) from error
