"""Uploading, against a stand-in for the hub: what is refused before there is anything, and what is uploaded after."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

import bench.edit.publish
from bench.core.errors import BenchError, UsageError
from bench.core.progress import Silent
from bench.edit.publish import check_destination, publish


class NotFound(errors.RepositoryNotFoundError):
    """Needs no answer of a server's, whose type depends on the hub client's version."""

    def __init__(self) -> None:
        pass


class Refusal(errors.HfHubHTTPError):
    """An answer with this status, made without a server's."""

    def __init__(self, status: int) -> None:
        self.response = SimpleNamespace(status_code=status)
        self.args = (f"answer {status}",)


@dataclass
class StandIn:
    """As much of `HfApi` as is used."""

    repositories: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    broken: bool = False
    status: int | None = None
    """Of the answer to a token that is refused."""

    def whoami(self) -> dict[str, str]:
        if self.status is not None:
            raise Refusal(self.status)
        if self.broken:
            raise OSError("connection refused\nand more")
        return {"name": "me"}

    def model_info(self, repository: str) -> Any:
        if repository not in self.repositories:
            raise NotFound
        return self.repositories[repository]

    def create_repo(self, repository: str, *, private: bool | None, exist_ok: bool) -> str:
        self.calls.append(("create", (repository, private)))
        return f"https://hub.invalid/{repository}"

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        if self.broken:
            raise OSError("connection refused")
        self.calls.append(("upload", (repo_id, sorted(path.name for path in folder_path.iterdir()), commit_message)))


def repository(*files: str, private: bool = False) -> Any:
    return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in files], private=private)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn(
        {
            "me/empty": repository(".gitattributes"),
            "me/full": repository("README.md"),
            "me/hidden": repository(private=True),
        }
    )
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: stand_in)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "token")
    monkeypatch.setattr(bench.edit.publish, "is_offline", lambda: False)
    return stand_in


def test_a_token_that_is_not_accepted_is_the_users_to_mend(hub: StandIn) -> None:
    hub.status = 401
    with pytest.raises(UsageError, match="does not accept the token: answer 401"):
        check_destination("me/new", private=False)
    hub.status = 503
    with pytest.raises(BenchError, match="cannot be asked about me/new: answer 503") as failure:
        check_destination("me/new", private=False)
    assert not isinstance(failure.value, UsageError)


@pytest.mark.parametrize("name", ["me/new", "me/empty", "me/hidden"])
def test_a_new_or_empty_repository_will_do(hub: StandIn, name: str) -> None:
    check_destination(name, private=False)
    assert hub.calls == []


@pytest.mark.parametrize(
    ("name", "private", "message"),
    [
        ("me", False, "takes ORG/NAME"),
        ("a/b/c", False, "takes ORG/NAME"),
        ("me/full", False, "holds 1 files"),
        ("me/empty", True, "is public on the hub already"),
    ],
)
def test_what_would_harm_is_refused(hub: StandIn, name: str, private: bool, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_destination(name, private=private)


def test_without_a_token_or_a_network_it_is_refused(hub: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.broken = True
    with pytest.raises(BenchError, match="cannot be asked about me/new: connection refused$"):
        check_destination("me/new", private=False)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(UsageError, match="needs a token"):
        check_destination("me/new", private=False)
    monkeypatch.setattr(bench.edit.publish, "is_offline", lambda: True)
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE is set"):
        check_destination("me/new", private=False)


@pytest.mark.parametrize(("private", "sent"), [(True, True), (False, None)])
def test_the_folder_is_uploaded(hub: StandIn, tmp_path: Path, private: bool, sent: bool | None) -> None:
    (tmp_path / "README.md").write_text("a card")
    url = publish(tmp_path, "me/new", private=private, message="made", progress=Silent())
    assert url == "https://hub.invalid/me/new"
    assert hub.calls == [("create", ("me/new", sent)), ("upload", ("me/new", ["README.md"], "made"))]


def test_a_failed_upload_says_that_the_checkpoint_is_there(hub: StandIn, tmp_path: Path) -> None:
    hub.broken = True
    with pytest.raises(BenchError, match=r"is whole in .*connection refused; `hf upload me/new .*` tries again"):
        publish(tmp_path, "me/new", private=False, message="made", progress=Silent())
