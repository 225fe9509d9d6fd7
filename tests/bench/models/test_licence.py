"""Which terms a checkpoint is passed on under: the card's, the catalogue's, a text's, or none that is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.progress import Silent
from bench.core.store import hub
from bench.models.licence import find_licence, terms_files
from bench.models.sources import HubModel, resolve_model

MISTRAL = resolve_model("mistral-7b").entry
OPT = resolve_model("opt-6.7b").entry


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_the_card_comes_first(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: gemma\n---\n")
    licence = find_licence(tmp_path, MISTRAL)
    assert licence.identifier == "gemma"
    assert licence.link == "https://ai.google.dev/gemma/terms"
    assert str(licence.notice).startswith("Gemma is provided under and subject to the Gemma Terms of Use")


@pytest.mark.parametrize("identifier", ["llama2", "llama3", "llama3.1", "llama3.2", "llama3.3"])
def test_llamas_terms_want_a_notice(tmp_path: Path, identifier: str) -> None:
    (tmp_path / "README.md").write_text(f"---\nlicense: {identifier}\n---\n")
    notice = str(find_licence(tmp_path, None).notice)
    assert f"Llama {identifier.removeprefix('llama')} is licensed under the" in notice
    assert "Meta Platforms, Inc. All Rights Reserved" in notice


def test_a_card_can_name_terms_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: mine\nlicense_link: LICENSE\n---\n")
    licence = find_licence(tmp_path, None)
    assert (licence.identifier, licence.name, licence.link) == ("other", "mine", "LICENSE")
    assert licence.notice is None


@pytest.mark.parametrize(
    "card", ["# no metadata", "---\n: [broken\n---\n", "---\n- a list\n---\n", "---\nlicense: 3\n---\n"]
)
def test_then_the_catalogue(tmp_path: Path, card: str) -> None:
    (tmp_path / "README.md").write_text(card)
    assert find_licence(tmp_path, MISTRAL).identifier == "apache-2.0"
    opt = find_licence(tmp_path, OPT)
    assert (opt.identifier, opt.name) == ("other", "OPT licence (non-commercial research)")


def test_then_a_licence_text(tmp_path: Path) -> None:
    licence = find_licence(write(tmp_path, LICENSE="Do as you like."), None)
    assert (licence.identifier, licence.link) == ("other", "LICENSE")
    assert licence.files == (tmp_path / "LICENSE",)


def test_or_it_is_unknown(tmp_path: Path) -> None:
    licence = find_licence(tmp_path, None)
    assert not licence.is_known
    assert licence.files == ()


def test_texts_are_told_from_other_files() -> None:
    texts = ["GEMMA_TERMS.html", "LICENSE.txt", "NOTICE", "README.md", "USE_POLICY.md"]
    assert terms_files([*texts, "config.json", "licences.json", "model.safetensors", "midterms.json"]) == texts


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "{notice}\n"),
        ({"NOTICE.md": "Put together from parts.\n"}, "{notice}\n"),
        ({"NOTICE": "Put together from parts.\n"}, "Put together from parts.\n{notice}\n"),
        ({"Notice.txt": "Know this: {notice}."}, None),
    ],
    ids=["no file", "another file", "a file of that name", "said already"],
)
def test_a_notice_that_the_terms_want_is_given_where_no_file_says_it(
    tmp_path: Path, files: dict[str, str], expected: str | None
) -> None:
    notice = "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms"
    write(tmp_path, **{name: text.format(notice=notice) for name, text in files.items()})
    (tmp_path / "README.md").write_text("---\nlicense: gemma\n---\n")
    wanted = {} if expected is None else {"NOTICE": expected.format(notice=notice)}
    assert find_licence(tmp_path, None).missing_notices() == wanted


def test_of_a_hub_model_card_and_texts_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download(repository: str, commit: str, sizes: dict[str, int], progress: object) -> Path:
        asked.extend(sizes)
        return tmp_path

    monkeypatch.setattr(hub, "file_sizes", lambda *_: {"README.md": 1, "LICENSE": 2, "model.safetensors": 3})
    monkeypatch.setattr(hub, "download", download)
    model = HubModel("org/name", "0" * 40)
    assert model.fetch_terms(Silent()) == tmp_path
    assert asked == ["LICENSE", "README.md"]
    assert model.hub_name == "org/name"


def test_a_hub_that_cannot_be_asked_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> None:
        raise hub.HubUnreachableError("no network")

    monkeypatch.setattr(hub, "file_sizes", unreachable)
    monkeypatch.setattr(hub, "fetch_config", lambda *_: tmp_path)
    assert HubModel("org/name", "0" * 40).fetch_terms(Silent()) == tmp_path


def test_every_named_model_has_its_name_on_the_hub() -> None:
    for name in ("smollm2-135m", "gpt2", "opt-6.7b"):
        assert "/" in str(resolve_model(name).hub_name)
