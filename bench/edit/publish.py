"""A finished checkpoint, put on the Hugging Face hub: only where the user said so, and never over anything."""

import re
from http import HTTPStatus
from pathlib import Path

from bench.core.errors import BenchError, UsageError
from bench.core.progress import Progress
from bench.core.store.hub import is_offline

NAME = re.compile(r"[\w.-]+/[\w.-]+")
_MADE_BY_THE_HUB = frozenset({".gitattributes"})


def check_destination(repository: str, *, private: bool) -> None:
    """Make sure that a checkpoint can be put on the hub, before there is one; the hub is asked, nothing is made.

    Arguments:
        repository: "ORG/NAME".
        private: whether nobody else is to see it.

    Raises:
        UsageError: the name is none, there is no token or it is not accepted, the hub must not be asked, or there is
            something in that repository already.
        BenchError: the hub cannot be asked.
    """
    from huggingface_hub import HfApi, errors, get_token

    if not NAME.fullmatch(repository):
        raise UsageError(f"--push-to-hub takes ORG/NAME, with your own name or your organisation's; found {repository}")
    if is_offline():
        raise UsageError("--push-to-hub needs the hub, but HF_HUB_OFFLINE is set; unset it, or leave the flag out")
    if get_token() is None:
        raise UsageError("--push-to-hub needs a token that may write: `hf auth login`, or set HF_TOKEN")
    api = HfApi()
    try:
        api.whoami()
        existing = api.model_info(repository)
    except errors.RepositoryNotFoundError:
        return
    except errors.HFValidationError as error:
        raise UsageError(f"--push-to-hub: {_reason(error)}") from error
    except errors.HfHubHTTPError as error:
        if error.response.status_code != HTTPStatus.UNAUTHORIZED:
            raise BenchError(f"the hub cannot be asked about {repository}: {_reason(error)}") from error
        raise UsageError(f"--push-to-hub: the hub does not accept the token: {_reason(error)}") from error
    except Exception as error:  # httpx, its successors and OSError: whichever the installed version raises
        raise BenchError(f"the hub cannot be asked about {repository}: {_reason(error)}") from error
    files = {file.rfilename for file in existing.siblings or []} - _MADE_BY_THE_HUB
    if files:
        raise UsageError(
            f"{repository} is on the hub already and holds {len(files)} files; give the name of a new or empty one"
        )
    if private and not existing.private:
        raise UsageError(f"{repository} is public on the hub already; make it private there, or leave out --private")


def publish(folder: Path, repository: str, *, private: bool, message: str, progress: Progress) -> str:
    """Upload a checkpoint.

    Arguments:
        folder: the finished, checked checkpoint.
        repository: "ORG/NAME"; made if it is not there.
        private: whether a new repository is hidden; if not, it is as its owner's default has it.
        message: of the commit.
        progress: shows the step.

    Returns:
        The address of its page.

    Raises:
        BenchError: it could not be uploaded; the folder stays.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        with progress.track(f"upload to {repository}", None):
            url = api.create_repo(repository, private=True if private else None, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    except Exception as error:  # as above
        raise BenchError(
            f"the checkpoint is whole in {folder}, but could not be uploaded to {repository}: {_reason(error)}; "
            f"`hf upload {repository} {folder}` tries again"
        ) from error
    return str(url)


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
