from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from bench.core.errors import UsageError
from bench.core.store import cache as module
from bench.core.store.cache import fault, file_sha256, home, workspace, write_manifest
from bench.models.sources import resolve_model
from bench.tasks.preferences.pool import load_pairs
from bench.tasks.texts.prompts import prompt_source
from bench.tasks.texts.prose import text_source


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_home_is_the_environments_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", "~/mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home() == tmp_path / "mine"
    monkeypatch.delenv("ALIGNMENT_BENCH_HOME")
    assert home() == tmp_path / ".cache" / "alignment-bench"


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is so new that it may change unseen."""
    monkeypatch.setattr(module, "_CLOCK_STEP_NS", -1)


@pytest.mark.usefixtures("settled")
def test_an_unchanged_file_is_hashed_once(cache, tmp_path, monkeypatch):
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    assert file_sha256(path) == digest(b"one")
    monkeypatch.setattr(module, "sha256_file", None)
    assert file_sha256(path) == digest(b"one")


@pytest.mark.parametrize("content", [b"two", b"longer"])
def test_a_changed_file_is_hashed_anew(content, cache, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    file_sha256(path)
    path.write_bytes(content)
    later = time.time_ns() + 10**9
    os.utime(path, ns=(later, later))
    assert file_sha256(path) == digest(content)


def same_times(*paths: Path) -> None:
    for path in paths:
        os.utime(path, ns=(10**18, 10**18))


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("kind", ["link of a folder", "link of a file", "replaced file", "rewritten file"])
def test_other_content_under_equal_path_size_and_time_has_its_own_hash(kind, cache, tmp_path):
    one, two, place = (tmp_path / name for name in ("one", "two", "place"))
    for build in (one, two):
        build.mkdir()
        (build / "weights").write_bytes(build.name.encode())
    same_times(one / "weights", two / "weights")
    path = place / "weights"
    if kind == "link of a folder":
        place.symlink_to(one)
    elif kind == "link of a file":
        place.mkdir()
        path.symlink_to(one / "weights")
    else:
        shutil.copytree(one, place)
    assert file_sha256(path) == digest(b"one")
    if kind == "link of a folder":
        place.unlink()
        place.symlink_to(two)
    elif kind == "link of a file":
        path.unlink()
        path.symlink_to(two / "weights")
    elif kind == "replaced file":
        (two / "weights").rename(path)
    else:
        time.sleep(0.05)  # the system's clock steps every few milliseconds
        path.write_bytes(b"two")
        same_times(path)
    assert path.stat().st_mtime_ns == 10**18
    assert file_sha256(path) == digest(b"two")


def test_a_file_that_has_just_changed_is_read_every_time(cache, tmp_path, monkeypatch):
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    file_sha256(path)
    assert not (cache / "hashes").exists()


@pytest.mark.usefixtures("settled")
def test_an_unreadable_note_is_passed_over(cache, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    file_sha256(path)
    for note in (cache / "hashes").iterdir():
        note.write_text("{")
    assert file_sha256(path) == digest(b"one")


def test_a_cache_that_cannot_be_written_still_tells_hashes(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "file" / "cache"))
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    assert file_sha256(path) == digest(b"one")


def test_what_a_killed_process_left_is_removed_after_two_days(cache):
    old, new = cache / "tmp" / "old", cache / "tmp" / "new"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "half").write_text("half")
    os.utime(old, (time.time() - 3 * 86400,) * 2)
    with workspace() as folder:
        assert folder.is_dir()
    assert not old.exists() and new.exists() and not folder.exists()


def test_a_manifest_finds_the_file_that_differs(cache, tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "a").write_bytes(b"aaa")
    write_manifest(folder)
    assert fault(folder) is None
    (folder / "a").write_bytes(b"aa")
    assert fault(folder) == "a has 2 bytes instead of 3"


def hold(folders: Connection) -> None:
    with workspace() as folder:
        (folder / "half.bin").write_text("half")
        folders.send(folder)
        time.sleep(600)


def test_what_a_killed_process_left_goes_with_the_next_and_a_living_ones_stays(cache):
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=hold, args=(theirs,))
    process.start()
    abandoned = ours.recv()
    with workspace():
        assert (abandoned / "half.bin").exists()
    process.kill()
    process.join()
    assert (abandoned / "half.bin").exists()
    with workspace():
        assert not abandoned.exists()
    assert list((cache / "tmp").iterdir()) == []


def test_a_user_without_a_home_folder_is_told_what_to_set(no_home, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"no home folder is known.*set HOME; or set ALIGNMENT_BENCH_HOME"):
        home()
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", "~/elsewhere")
    with pytest.raises(UsageError, match="no home folder is known for ~/elsewhere"):
        home()
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path))
    assert home() == tmp_path


@pytest.mark.parametrize("path", ["~/x.jsonl", "~nobody-of-that-name/x.jsonl"])
def test_a_path_below_a_home_folder_that_nobody_knows_is_refused_by_name(no_home, path):
    for read in (load_pairs, prompt_source, text_source, resolve_model):
        with pytest.raises(UsageError, match=f"no home folder is known for {path}: write the path in full"):
            read(f"file:{path}")
