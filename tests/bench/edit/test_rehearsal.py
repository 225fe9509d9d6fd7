"""What saving needs is tried before a model is loaded, and aligned weights are kept where saving fails all the same."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel

from bench.core.errors import BenchError, UsageError
from bench.core.progress import Silent
from bench.edit import make, rehearsal, saving
from bench.edit.make import EditRequest, edit_model
from bench.models.placed import PlacedModel

ROWS = [{"prompt": f"Number {i} is", "chosen": f" kind {i}", "rejected": f" rude {i} indeed"} for i in range(8)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, save_model: Callable[..., Path]) -> Path:
    """A model and pairs."""
    folder = tmp_path_factory.mktemp("rehearsal")
    save_model(folder / "model")
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return folder


@pytest.fixture
def asked(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EditRequest:
    """An edit of a copy of the model, which may be broken."""
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "home"))
    shutil.copytree(source / "model", tmp_path / "model")
    return EditRequest(
        pairs_file=source / "pairs.jsonl",
        out=tmp_path / "outs" / "edited",
        model=str(tmp_path / "model"),
        method="profs",
        assignments=("rank=1", "layers=all"),
        device="cpu",
    )


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model fails the test."""

    def load(*_: Any) -> NoReturn:
        pytest.fail("the model was loaded")

    monkeypatch.setattr(PlacedModel, "load", load)


def _full(*_: Any, **__: Any) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.usefixtures("unloaded")
class TestBeforeLoading:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ("{nonsense", "not a valid JSON file"),
            ("[]", "TypeError"),
            ('{"early_stopping": 5}', "`early_stopping` must be a boolean"),
            ('{"max_new_tokens": -1}', "`max_new_tokens` must be greater than 0"),
        ],
    )
    def test_generation_settings_that_cannot_be_passed_on(
        self, settings: str, message: str, asked: EditRequest, tmp_path: Path
    ) -> None:
        path = tmp_path / "model" / "generation_config.json"
        path.write_text(settings)
        with pytest.raises(UsageError, match=rf"{re.escape(str(path))} cannot be passed on: .*{message}.*; correct"):
            edit_model(asked, Silent())
        assert list(asked.out.parent.iterdir()) == []

    def test_a_disk_with_too_little_room(self, asked: EditRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = shutil.disk_usage(asked.out.parent.parent)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=60 << 20))
        with pytest.raises(UsageError, match=r"about 0.07 GB, and .*outs has 0.06 GB left; make room"):
            edit_model(asked, Silent())

    def test_a_folder_that_takes_no_files(self, asked: EditRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tempfile, "NamedTemporaryFile", _full)
        with pytest.raises(UsageError, match=r"cannot write to .*edited: No space left .* choose another folder"):
            edit_model(asked, Silent())
        assert list(asked.out.parent.iterdir()) == []

    def test_a_link_to_nothing(self, asked: EditRequest, tmp_path: Path) -> None:
        asked.out.parent.mkdir()
        asked.out.symlink_to(tmp_path / "nowhere")
        with pytest.raises(UsageError, match=r"is a link to .*nowhere, which does not exist"):
            edit_model(asked, Silent())

    @pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system that takes no files from anybody")
    def test_a_file_system_that_takes_nothing(self, asked: EditRequest) -> None:
        with pytest.raises(UsageError, match="cannot write to /proc/edited"):
            edit_model(EditRequest(**{**vars(asked), "out": Path("/proc/edited")}), Silent())

    def test_a_name_that_the_file_system_does_not_take(self, asked: EditRequest) -> None:
        with pytest.raises(UsageError, match="File name too long; choose another"):
            edit_model(EditRequest(**{**vars(asked), "out": asked.out.with_name("x" * 300)}), Silent())

    def test_what_transformers_cannot_save(self, asked: EditRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: Any, **__: Any) -> NoReturn:
            raise NotImplementedError("no way back for these experts")

        monkeypatch.setattr(PreTrainedModel, "save_pretrained", refuse)
        with pytest.raises(
            UsageError, match=r"could not be saved to .*: NotImplementedError: no way back .*; nothing was"
        ):
            edit_model(asked, Silent())
        assert list(asked.out.parent.iterdir()) == []

    def test_settings_that_change_when_they_are_saved(
        self, asked: EditRequest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = saving.write_checkpoint

        def lose(model: Any, passed_on: Any, folder: Path, **rest: Any) -> None:
            write(model, passed_on, folder, **rest)
            (folder / "generation_config.json").write_text('{"max_length": 7}')

        monkeypatch.setattr(rehearsal, "write_checkpoint", lose)
        with pytest.raises(UsageError, match=r"the generation settings of .* would not load as they are"):
            edit_model(asked, Silent())


@pytest.mark.parametrize("own", [True, False])
def test_sampling_settings_without_a_padding_token_are_passed_on(own: bool, asked: EditRequest, tmp_path: Path) -> None:
    sampling = {"temperature": 0.7, "top_p": 0.9, "pad_token_id": None}
    path = tmp_path / "model" / "generation_config.json"
    if own:
        path.write_text(json.dumps(sampling))
    else:
        path.unlink()
        config = json.loads(path.with_name("config.json").read_text())
        path.with_name("config.json").write_text(json.dumps({**config, **sampling}))
    found = GenerationConfig.from_pretrained(edit_model(asked, Silent()).folder)
    assert (found.temperature, found.top_p, found.pad_token_id) == (0.7, 0.9, None)


def test_several_chat_templates_are_passed_on_and_everybody_can_read_them(asked: EditRequest, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    templates = {"default": "{{ messages[0].content }}", "tool_use": "tool {{ messages[0].content }}"}
    tokenizer.chat_template = templates
    tokenizer.save_pretrained(tmp_path / "model")
    folder = edit_model(asked, Silent()).folder
    assert AutoTokenizer.from_pretrained(folder).chat_template == templates
    assert (folder / "additional_chat_templates").is_dir()
    for path in folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644), path


@pytest.mark.parametrize("linked", [True, False])
def test_an_empty_folder_that_nothing_can_take_the_place_of_is_filled(
    linked: bool, asked: EditRequest, tmp_path: Path
) -> None:
    """A link to a folder, or the root of a mounted disk, which `rmdir` and `rename` refuse."""
    asked.out.parent.mkdir()
    if linked:
        (tmp_path / "elsewhere").mkdir()
        asked.out.symlink_to(tmp_path / "elsewhere")
    else:
        asked.out.mkdir()
    before = asked.out.stat().st_ino
    folder = edit_model(asked, Silent()).folder
    assert folder.stat().st_ino == before
    assert folder.is_symlink() is linked
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert AutoModelForCausalLM.from_pretrained(folder)


def _state(asked: EditRequest, tmp_path: Path) -> Mapping[str, torch.Tensor]:
    """What the edit gives, where nothing goes wrong."""
    other = EditRequest(**{**vars(asked), "out": tmp_path / "right"})
    state: Mapping[str, torch.Tensor] = AutoModelForCausalLM.from_pretrained(
        edit_model(other, Silent()).folder
    ).state_dict()
    return state


@pytest.mark.parametrize("step", ["card", "writing", "renaming"])
@pytest.mark.parametrize("writable", [True, False])
def test_aligned_weights_are_kept_where_the_last_step_fails(
    step: str, writable: bool, asked: EditRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _state(asked, tmp_path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    if step == "card":
        monkeypatch.setattr(make, "model_card", _full)
    elif step == "writing":
        monkeypatch.setattr(saving, "write_checkpoint", _full)
    else:
        monkeypatch.setattr(saving, "_move", _full)
    if not writable:
        mkdtemp = tempfile.mkdtemp

        def refuse(suffix: str | None = None, prefix: str | None = None, dir: Path | None = None) -> str:
            if prefix == "aligned-weights-" and dir == asked.out.parent:
                _full()
            return mkdtemp(suffix, prefix, dir)

        monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(BenchError, match=r"No space left on device; .* kept in") as error:
        edit_model(asked, Silent())
    assert not asked.out.exists()
    kept = Path(re.search(r"kept in ([^\s,]+)", str(error.value))[1])  # type: ignore[index]
    assert kept.is_relative_to(asked.out.parent if writable or step == "renaming" else temporary)
    state = AutoModelForCausalLM.from_pretrained(kept).state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_weights_that_nothing_takes_are_said_to_be_lost(asked: EditRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "model_card", _full)
    monkeypatch.setattr(saving, "kept_folder", lambda *_: None)
    with pytest.raises(BenchError, match=r"neither .*outs nor the folder for temporary files takes its weights"):
        edit_model(asked, Silent())
