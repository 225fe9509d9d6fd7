from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from threading import Thread

import pytest

from bench.core.errors import BenchError
from bench.core.progress import Silent
from bench.core.store import assets, room, wheels
from bench.core.store.assets import (
    PypiFile,
    cached_path,
    describe_missing,
    fetch,
    is_cached,
)

A, B = b"first part", b"second part, longer"


def part(member: str, content: bytes, name: str = "parts") -> PypiFile:
    return PypiFile(
        requirement=f"{name}==1.0", member=member, sha256=hashlib.sha256(content).hexdigest(), wheel_bytes=93_000_000
    )


FIRST, SECOND = part("parts/a.txt", A), part("parts/b.txt", B)


@pytest.fixture
def wheel(make_wheel, cache) -> Path:
    return make_wheel("parts", {FIRST.member: A, SECOND.member: B})


@pytest.fixture
def first_cached(cache) -> None:
    """The first part as if it had been fetched before."""
    cached_path(FIRST).parent.mkdir(parents=True)
    cached_path(FIRST).write_bytes(A)


def test_members_of_one_wheel_are_unpacked_from_one_download(wheel, cache, recorder):
    paths = fetch([FIRST, SECOND, FIRST], recorder)
    assert [path.read_bytes() for path in paths] == [A, B, A]
    assert recorder.steps == ["look for parts==1.0"]
    assert list((cache / "tmp").iterdir()) == []


def test_a_disk_without_room_for_a_wheel_is_one_message_before_pip_is_asked(wheel, cache, recorder, monkeypatch):
    monkeypatch.setattr(room, "free_disk", lambda folder: 185_000_000)  # the file in a wheel and the wheel: twice 93 MB
    with pytest.raises(
        BenchError, match=r"downloading parts==1.0 needs 186 MB on the disk of .*, where 185 MB are free"
    ):
        fetch([FIRST, SECOND], recorder)
    assert recorder.steps == [] and not cache.exists()
    (line,) = describe_missing([FIRST, SECOND])
    assert room.download_sizes([line, line, "something of a plug-in"]) == {cache: 93_000_000}


def test_room_is_looked_up_on_the_disk_of_the_nearest_folder_that_is_there(tmp_path):
    assert room.free_disk(tmp_path / "not" / "made") == shutil.disk_usage(tmp_path).free


def test_what_is_cached_needs_no_pip(wheel, cache, monkeypatch):
    fetch([FIRST], Silent())
    monkeypatch.setattr(assets, "download_wheel", None)
    assert fetch([FIRST], Silent()) == [cached_path(FIRST)]
    assert is_cached(FIRST) and not is_cached(SECOND)


def test_a_corrupted_file_is_fetched_again(wheel, recorder):
    fetch([FIRST], Silent())
    cached_path(FIRST).write_bytes(b"tampered!!")
    assert fetch([FIRST], recorder)[0].read_bytes() == A
    assert str(cached_path(FIRST)) in recorder.notes[0] and "corrupted" in recorder.notes[0]


def test_a_file_corrupted_twice_is_an_error_with_both_hashes(make_wheel, cache, recorder):
    make_wheel("parts", {FIRST.member: B})
    cached_path(FIRST).parent.mkdir(parents=True)
    cached_path(FIRST).write_bytes(b"tampered!!")
    with pytest.raises(BenchError) as caught:
        fetch([FIRST], recorder)
    for expected in (FIRST.sha256, hashlib.sha256(B).hexdigest(), str(cached_path(FIRST)), FIRST.member):
        assert expected in str(caught.value)
    assert recorder.steps == ["look for parts==1.0"]  # once: the cached copy was the first try


def test_a_new_download_with_another_hash_is_tried_twice(make_wheel, cache, recorder):
    make_wheel("parts", {FIRST.member: B})
    with pytest.raises(BenchError, match=FIRST.sha256):
        fetch([FIRST], recorder)
    assert len(recorder.steps) == 2
    assert not is_cached(FIRST)


def test_a_member_that_cannot_be_decompressed_is_named(make_wheel, cache):
    path = make_wheel("parts", {FIRST.member: A})
    path.write_bytes(path.read_bytes().replace(A, A.upper()))  # stored, so that its checksum is now wrong
    with pytest.raises(BenchError, match="Bad CRC-32"):
        fetch([FIRST], Silent())


def test_a_wheel_without_the_member_says_so(make_wheel, cache):
    make_wheel("parts", {"parts/other.txt": A})
    with pytest.raises(BenchError, match=r"parts==1\.0 has no member parts/a\.txt"):
        fetch([FIRST], Silent())


def test_without_network_and_cache_the_message_says_what_to_do(make_wheel, cache):
    with pytest.raises(BenchError) as caught:
        fetch([FIRST, SECOND], Silent())
    message = str(caught.value)
    assert message.startswith("parts==1.0 (package index, 93 MB; for a.txt, b.txt) is needed")
    assert "pip said: No matching distribution found for parts==1.0" in message
    for hint in (
        "pip download --no-deps --dest wheels parts==1.0",
        "PIP_FIND_LINKS",
        "ALIGNMENT_BENCH_HOME",
        str(cache),
    ):
        assert hint in message
    assert "\n" not in message


def test_an_interpreter_without_pip_is_told_apart(wheel, monkeypatch):
    def absent(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(wheels, "version", absent)
    with pytest.raises(BenchError, match=r"has no pip.*ensurepip"):
        fetch([FIRST], Silent())


def test_a_cache_that_cannot_be_written_is_named(wheel, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "file" / "cache"))
    with pytest.raises(BenchError, match=r"cannot write .*file/cache.*set ALIGNMENT_BENCH_HOME"):
        fetch([FIRST], Silent())


def test_an_interrupted_download_leaves_nothing(wheel, cache):
    class Interrupting(Silent):
        @contextmanager
        def track(self, description: str, total: float | None) -> Iterator[None]:
            raise KeyboardInterrupt
            yield

    with pytest.raises(KeyboardInterrupt):
        fetch([FIRST], Interrupting())
    assert [path for path in cache.rglob("*") if path.is_file()] == []
    assert list((cache / "tmp").iterdir()) == []


def test_bytes_are_shown_while_an_index_serves_them(make_wheel, cache, recorder, tmp_path, monkeypatch):
    large = part("parts/large.bin", bytes(700_000))  # pip tells the progress of more than 512 KiB alone
    wheel = make_wheel("parts", {large.member: bytes(700_000)})
    served = tmp_path / "index" / "parts"
    served.parent.mkdir()
    wheel.parent.rename(served)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served.parent))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        fetch([large], recorder)
        server.shutdown()
    size = (served / wheel.name).stat().st_size
    assert recorder.totals["download parts==1.0"] == recorder.units["download parts==1.0"] == size


def test_progress_lines_become_units_and_the_rest_is_kept(recorder):
    lines = [
        "Collecting x\n",
        "Progress 0 of 100\n",
        "Progress 60 of 100\n",
        "Progress 100 of 100\n",
        "Saved x\n",
        "\n",
    ]
    assert wheels.follow(lines, "x==1", recorder) == ["Collecting x", "Saved x"]
    assert recorder.units == {"download x==1": 100}


def test_an_index_that_does_not_answer_is_told_apart():
    said = ["WARNING: Retrying (Retry(total=0)) after connection broken", "ERROR: No matching distribution found for x"]
    assert wheels._reason(said) == "the package index did not answer; pip said: No matching distribution found for x"


@pytest.mark.parametrize(("installed", "bar"), [("24.0", "off"), ("24.1", "raw")])
def test_an_old_pip_is_not_asked_for_what_it_does_not_know(installed, bar, monkeypatch):
    monkeypatch.setattr(wheels, "version", lambda package: installed)
    command = wheels._pip_download()
    assert command[command.index("--progress-bar") + 1] == bar


def test_missing_wheels_are_described_with_their_size(wheel, cache):
    assert describe_missing([FIRST, SECOND]) == ["parts==1.0 (package index, 93 MB; for a.txt, b.txt)"]
    fetch([FIRST, SECOND], Silent())
    assert describe_missing([FIRST, SECOND]) == []


def test_a_wheel_that_is_no_zip_is_named(cache, tmp_path, monkeypatch):
    def download(requirement: str, folder: Path, *arguments: object, **settings: object) -> Path:
        (folder / "parts.whl").write_bytes(b"<html>")
        return folder / "parts.whl"

    monkeypatch.setattr(assets, "download_wheel", download)
    with pytest.raises(BenchError, match=r"parts\.whl.* is no wheel"):
        fetch([FIRST], Silent())


@pytest.mark.network
def test_a_real_wheel_comes_through_the_users_pip(cache, recorder):
    requirement = "alt-profanity-check==1.9.1"
    model = PypiFile(
        requirement=requirement,
        member="profanity_check/data/model.joblib",
        sha256="aeafc04849d4d93db4721cf30a86ebf22085595294b8a07d51918e7fa98f538b",
    )
    assert fetch([model], recorder)[0].stat().st_size == 620_645
    assert recorder.steps[0] == f"look for {requirement}"
