"""Folders that are made once: whole or not there, mended where they are damaged, made by one process of several."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.core.progress import Silent
from bench.core.store.conversion import converted_path, make_once

A = b"first part"
SHA256 = "0123456789abcdef" * 4


def counting_conversion() -> SimpleNamespace:
    calls: list[Path] = []

    def convert(folder: Path, temporary: Path) -> None:
        calls.append(folder)
        (folder / "deep").mkdir()
        (folder / "deep" / "made.txt").write_bytes(A * 2)

    return SimpleNamespace(calls=calls, convert=convert)


def test_conversion_happens_once(cache):
    conversion = counting_conversion()
    folders = [make_once("double-v1", SHA256, conversion.convert, Silent()) for _ in range(2)]
    assert folders[0] == folders[1] == converted_path("double-v1", SHA256)
    assert (folders[0] / "deep" / "made.txt").read_bytes() == A * 2
    assert len(conversion.calls) == 1


@pytest.mark.parametrize("damage", ["changed", "truncated", "gone", "manifest"])
def test_a_damaged_conversion_is_made_again(damage, cache, recorder):
    conversion = counting_conversion()
    folder = make_once("double-v1", SHA256, conversion.convert, Silent())
    made = folder / "deep" / "made.txt"
    match damage:
        case "changed":
            made.write_bytes(b"x" * len(A * 2))
        case "truncated":
            made.write_bytes(A)
        case "gone":
            made.unlink()
        case "manifest":
            (folder / "manifest.json").write_text("{")
    assert make_once("double-v1", SHA256, conversion.convert, recorder) == folder
    assert made.read_bytes() == A * 2
    assert len(conversion.calls) == 2
    assert "corrupted" in recorder.notes[0]


def test_files_added_to_a_conversion_later_are_let_be(cache):
    conversion = counting_conversion()
    folder = make_once("double-v1", SHA256, conversion.convert, Silent())
    (folder / "cache-of-someone.arrow").write_text("")
    make_once("double-v1", SHA256, conversion.convert, Silent())
    assert len(conversion.calls) == 1


def test_a_conversion_that_fails_leaves_no_folder(cache):
    def fail(folder: Path, temporary: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_once("double-v1", SHA256, fail, Silent())
    assert not converted_path("double-v1", SHA256).exists()
    assert list((cache / "tmp").iterdir()) == []


def test_of_two_processes_that_convert_at_once_the_first_wins(cache):
    other = counting_conversion()

    def slow(folder: Path, temporary: Path) -> None:
        make_once("double-v1", SHA256, other.convert, Silent())
        (folder / "late.txt").write_text("late")

    folder = make_once("double-v1", SHA256, slow, Silent())
    assert (folder / "deep" / "made.txt").exists() and not (folder / "late.txt").exists()


def test_the_hash_and_the_name_are_part_of_the_folder(cache):
    assert len({converted_path(name, sha256) for name in ("v1", "v2") for sha256 in (SHA256, "f" * 64)}) == 4


def test_converted_files_can_be_read_by_others(cache):
    def private(folder: Path, temporary: Path) -> None:
        (folder / "made.txt").write_text("x")
        (folder / "made.txt").chmod(0o600)

    folder = make_once("private-v1", SHA256, private, Silent())
    assert (folder / "made.txt").stat().st_mode & 0o777 == 0o644
