"""A model out of several wheels, with its terms: whole in the cache, or one clear message and nothing half-made."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.core.hashing import sha256_texts
from bench.core.progress import Silent
from bench.core.store import room
from bench.core.store.assets import PypiFile
from bench.core.store.conversion import make_once
from bench.core.store.joined import JoinedFile
from bench.models import sources
from bench.models.catalogue import MODELS, ModelEntry
from bench.models.gguf import CONVERSION
from bench.models.licence import find_licence
from bench.models.sources import PypiModel, resolve_model

TERMS = {"tiny/data/GEMMA_TERMS.html": b"<p>the terms</p>", "tiny/data/NOTICE.md": b"put together from parts\n"}
N_PARTS = 3


def pinned(requirement: str, member: str, content: bytes) -> PypiFile:
    return PypiFile(requirement=requirement, member=member, sha256=hashlib.sha256(content).hexdigest())


@pytest.fixture
def parts(tiny_gguf: Path) -> list[bytes]:
    content = tiny_gguf.read_bytes()
    size = -(-len(content) // N_PARTS)
    return [content[start : start + size] for start in range(0, len(content), size)]


@pytest.fixture
def model(tiny_gguf: Path, parts, make_wheel, cache, monkeypatch) -> PypiModel:
    """In the catalogue and the package index, and not fetched yet."""
    names = [f"tiny{number}" for number in range(N_PARTS)]
    files = [pinned(f"{name}==1.0", f"{name}/part", part) for name, part in zip(names, parts, strict=True)]
    for file, content in zip(files, parts, strict=True):
        make_wheel(file.requirement.partition("==")[0], {file.member: content})
    make_wheel("tiny", TERMS)
    asset = JoinedFile(
        requirement="tiny==1.0",
        name="tiny.gguf",
        sha256=hashlib.sha256(tiny_gguf.read_bytes()).hexdigest(),
        parts=tuple(files),
    )
    terms = tuple(pinned("tiny==1.0", member, content) for member, content in TERMS.items())
    texts = {"licence": "Gemma Terms of Use", "licence_id": "gemma", "note": "tiny"}
    entry = ModelEntry(locator=asset.locator, parameters=1, asset=asset, terms=terms, **texts)
    monkeypatch.setitem(MODELS, "tiny", entry)
    source = resolve_model("tiny")
    assert isinstance(source, PypiModel)
    return source


def leftovers(cache: Path) -> list[Path]:
    """All that is half-made."""
    return [*(cache / "tmp").iterdir(), *cache.rglob("*.gguf"), *(cache / "converted").glob("*")]


def test_terms_and_notices_lie_beside_the_model_and_are_named_once(model, recorder):
    model.fetch(recorder)
    assert len(recorder.notes) == 1
    assert recorder.notes[0].startswith("Gemma is provided under and subject to the Gemma Terms of Use")
    assert str(model.folder()) in recorder.notes[0]
    model.fetch(recorder)
    assert len(recorder.notes) == 1
    licence = find_licence(model.folder(), model.entry)
    assert [path.name for path in licence.files] == ["GEMMA_TERMS.html", "NOTICE", "NOTICE.md"]
    assert licence.missing_notices() == {}
    assert "Gemma Terms of Use" in (model.folder() / "NOTICE").read_text()
    assert model.load(dtype="bfloat16", device="cpu")[0].num_parameters() > 0


def test_every_wheel_is_named_before_it_is_downloaded_and_none_after(model):
    wheels = [line.partition(" ")[0] for line in model.missing()]
    assert wheels == ["tiny0==1.0", "tiny1==1.0", "tiny2==1.0", "tiny==1.0"]
    model.fetch(Silent())
    assert model.missing() == []


def test_a_disk_without_room_for_download_and_conversion_is_one_message(model, cache, monkeypatch):
    wheels = tuple(part.model_copy(update={"wheel_bytes": 1000}) for part in model.asset.parts)
    asset = model.asset.model_copy(update={"parts": wheels})
    model = PypiModel(asset)
    whole = model.entry.model_copy(update={"parameters": 5000, "asset": asset})
    monkeypatch.setitem(MODELS, "tiny", whole)
    assert model.converted_bytes() == N_PARTS * 1000 + 4 * 5000
    needed = N_PARTS * 1000 + 1000 + N_PARTS * 1000 + 4 * 5000
    monkeypatch.setattr(room, "free_disk", lambda folder: needed - 1)
    with pytest.raises(
        BenchError, match="tiny.gguf and converting it to float32 needs 27 kB on the disk of .* 27 kB are"
    ):
        model.fetch(Silent())
    assert not leftovers(cache) and not (cache / "assets").exists()
    monkeypatch.setattr(room, "free_disk", lambda folder: needed)
    model.fetch(Silent())
    assert (model.missing(), model.converted_bytes()) == ([], 0)


def test_terms_are_no_part_of_what_identifies_the_weights(model, monkeypatch):
    before = model.fingerprint()
    monkeypatch.setitem(MODELS, "tiny", MODELS["tiny"].model_copy(update={"terms": ()}))
    assert model.fingerprint() == before


def test_a_part_that_is_missing_is_named_with_all_that_must_be_brought(model, parts, make_wheel, cache, recorder):
    make_wheel("tiny1", {}).unlink()
    with pytest.raises(BenchError) as caught:
        model.fetch(Silent())
    assert str(caught.value).startswith("tiny1==1.0 (package index; for part) is needed; pip could not download")
    assert "--dest wheels tiny1==1.0 tiny2==1.0`" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert leftovers(cache) == []
    make_wheel("tiny1", {"tiny1/part": parts[1]})
    model.fetch(recorder)
    assert recorder.steps[:2] == ["look for tiny1==1.0", "look for tiny2==1.0"]  # tiny0 and the terms are here


def test_a_part_that_is_there_in_another_version_only_says_which(model, make_wheel, cache):
    path = make_wheel("tiny1", {"tiny1-2.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny1\nVersion: 2.0\n"})
    path.rename(path.with_name("tiny1-2.0-py3-none-any.whl"))
    with pytest.raises(BenchError, match=r"requirement tiny1==1\.0 \(from versions: 2\.0\)"):
        model.fetch(Silent())
    assert leftovers(cache) == []


def test_a_part_that_is_there_twice_is_named(model, parts, make_wheel, cache):
    make_wheel("tiny1", {"tiny1/part": parts[0]})
    with pytest.raises(BenchError, match=r"tiny1/part of tiny1==1\.0 has sha256 \w+ where \w+ is expected"):
        model.fetch(Silent())
    assert leftovers(cache) == []


@pytest.mark.parametrize("what", ["join", "terms"])
def test_a_full_disk_is_called_that_and_nothing_stays(what, model, cache, monkeypatch):
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    module, name = ("joined.shutil", "copyfileobj") if what == "join" else ("assets.shutil", "copyfile")
    sources.fetch(model.asset.parts, Silent())
    monkeypatch.setattr(f"bench.core.store.{module}.{name}", full)
    with pytest.raises(BenchError, match=r"cannot write .*: No space left on device; free some space there"):
        model.fetch(Silent())
    assert leftovers(cache) == []


def test_a_full_disk_while_the_weights_are_written_is_called_that(model, cache, monkeypatch):
    from safetensors import SafetensorError

    def full(*arguments: object, **settings: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("transformers.modeling_utils.safe_save_file", full)
    with pytest.raises(BenchError, match=r"cannot write .*: .*No space left on device.*; free some space there"):
        model.fetch(Silent())
    assert leftovers(cache) == []


def test_after_an_interrupted_conversion_nothing_is_downloaded_again(model, make_wheel, cache, recorder, monkeypatch):
    def interrupted(path: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sources, "convert_gguf", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.fetch(Silent())
    assert leftovers(cache) == []
    shutil.rmtree(make_wheel("tiny", {}).parent)
    model.fetch(recorder)
    assert recorder.steps == ["join the 3 parts of tiny.gguf", "convert tiny.gguf to float32"]


def test_an_older_cache_without_the_terms_is_not_taken_for_this_one(model):
    def convert(folder: Path, temporary: Path) -> None:
        (folder / "config.json").write_text("{}")

    make_once(CONVERSION, sha256_texts([model.asset.sha256]), convert, Silent())
    assert len(model.missing()) == N_PARTS + 1
    model.fetch(Silent())
    assert (model.folder() / "GEMMA_TERMS.html").is_file()
