"""A chat is the same text on every day, wherever a template that reads the clock is applied."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import chat_template_utils
from trl.data_utils import apply_chat_template

from bench.core.chat_date import CHAT_DATE, dated
from bench.core.progress import Silent
from bench.core.store import hub
from bench.core.values import PreferencePair
from bench.edit.make import EditRequest, edit_model
from bench.harness.cells import expand_cells
from bench.harness.resolved import say_chat_date
from bench.harness.run import run
from bench.leaderboard.records.record import ModelInfo, Record, read_record
from bench.models.sources import HubModel, resolve_model
from bench.spec.run_spec import RunSpec, build_tasks
from bench.tasks.capability.model import InProcessModel
from bench.tasks.preferences.pool import make_pool

SetClock = Callable[[datetime], None]
DATED = (
    "{% set today = strftime_now('%d %b %Y') if strftime_now is defined else '?' %}"
    "{{ 'Today is ' + today + '\n' }}{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
)
FORMATS = ("%d %b %Y", "%B %-d, %Y", "%Y-%m-%d", "%A, %H:%M:%S %p", "100%% of %%d", "%j %U %c", "no code")
CHAT = [{"role": "user", "content": "Hi"}]
TURNS = {"prompt": CHAT, "completion": [{"role": "assistant", "content": "Good day"}]}

POOL = make_pool("file:none", [PreferencePair("say", " kind", " rude")])


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Sets what chat templates read."""

    def set_to(moment: datetime) -> None:
        clock = type("Clock", (datetime,), {"now": classmethod(lambda *_: moment)})
        monkeypatch.setattr(chat_template_utils, "datetime", clock)

    return set_to


@pytest.fixture
def chat_model(tmp_path: Path, save_model: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model whose template writes today's date; its tokenizer has a second such template."""
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "cache"))
    folder = save_model(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = {"default": DATED, "other": DATED.replace("Today", "Now")}
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("before", ["", "\n  ", "  \n\n", "x\n"])
def test_a_template_writes_the_given_date_as_it_wrote_todays(
    form: str, before: str, tiny_tokenizer: PreTrainedTokenizerFast, set_clock: SetClock
) -> None:
    tokenizer = deepcopy(tiny_tokenizer)
    template = f"{before}{{% set now = strftime_now(format={form!r}) %}}\n {{{{ now + '!' }}}}\n"
    set_clock(datetime(2025, 3, 4))
    tokenizer.chat_template = template
    expected = tokenizer.apply_chat_template(CHAT, tokenize=False)
    set_clock(datetime(2031, 12, 25, 17, 45))
    tokenizer.chat_template = dated(template, date(2025, 3, 4))
    assert tokenizer.apply_chat_template(CHAT, tokenize=False) == expected


def test_a_template_that_reads_no_clock_stays_as_it_is() -> None:
    assert dated("{{ messages }}", date(2025, 3, 4)) == "{{ messages }}"


def test_a_chat_is_the_same_on_every_day_wherever_it_is_rendered(chat_model: Path, set_clock: SetClock) -> None:
    def texts() -> list[Any]:
        source = resolve_model(str(chat_model))
        model, tokenizer = source.load(dtype="float32", device="cpu")
        return [
            tokenizer.apply_chat_template(CHAT, tokenize=False),
            tokenizer.apply_chat_template(CHAT, tokenize=False, chat_template="other"),
            deepcopy(source.load_tokenizer()).apply_chat_template(CHAT, tokenize=False),
            InProcessModel(model, tokenizer, 1, Silent()).apply_chat_template(CHAT),
            apply_chat_template(TURNS, tokenizer),
        ]

    set_clock(datetime(2025, 3, 4))
    one_day = texts()
    set_clock(datetime(2025, 3, 5))
    assert texts() == one_day
    assert one_day[0] == "Today is 26 Jul 2024\nuser: Hi\n"
    other = replace(resolve_model(str(chat_model)), chat_date=date(2020, 2, 1)).load_tokenizer()
    assert other.apply_chat_template(CHAT, tokenize=False) == "Today is 01 Feb 2020\nuser: Hi\n"


def test_the_date_is_part_of_a_cell_only_where_a_template_writes_it() -> None:
    def cell_id(day: date | None, **capability: bool) -> tuple[str, Any]:
        spec = RunSpec.model_validate({"methods": {}, "tasks": {"capability": capability}})
        model = ModelInfo(locator="file:none", fingerprint="f00d", dtype="float32", chat_date=day)
        (base,) = expand_cells(spec, model, "cpu", POOL, build_tasks(spec))
        return base.id, base.evaluation["capability"].get("chat_date")

    chat = {"apply_chat_template": True}
    ids = [cell_id(day, **chat)[0] for day in (None, CHAT_DATE, date(2025, 3, 4))]
    assert len(set(ids)) == 3
    assert cell_id(CHAT_DATE, **chat)[1] == "2024-07-26"
    assert cell_id(None) == cell_id(CHAT_DATE)  # no chat: as it always was


def test_chat_pairs_made_on_another_day_are_the_recorded_ones(
    chat_model: Path, tmp_path: Path, set_clock: SetClock
) -> None:
    pairs = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": [{"role": "user", "content": f"Say {i}"}]}
        | {side: [{"role": "assistant", "content": f"{side} {i}"}] for side in ("chosen", "rejected")}
        for i in range(12)
    ]
    pairs.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "prose.txt").write_text("plain words\n\nmore words\n")
    spec = {
        "model": f"file:{chat_model}",
        "device": "cpu",
        "chat_date": "2025-03-04",
        "pairs": {"source": f"file:{pairs}", "exclude": [], "held_out": 2},
        "methods": {"profs": {"rank": 1}},
        "tasks": {"perplexity": {"source": f"file:{tmp_path / 'prose.txt'}"}},
        "out": str(tmp_path / "run"),
    }
    set_clock(datetime(2025, 3, 4))
    assert len(run(RunSpec.model_validate(spec)).executed) == 2
    set_clock(datetime(2025, 3, 5))
    assert not run(RunSpec.model_validate(spec)).executed
    (path,) = (tmp_path / "run" / "records").glob("profs-*.json")
    record: Record = read_record(path)
    assert record.model.chat_date == date(2025, 3, 4)
    edit_model(EditRequest(pairs_file=pairs, out=tmp_path / "edited", record=path), Silent())
    saved = AutoTokenizer.from_pretrained(tmp_path / "edited")
    assert saved.chat_template == AutoTokenizer.from_pretrained(chat_model).chat_template


def test_the_date_is_said(chat_model: Path) -> None:
    notes: list[str] = []
    progress = type("Notes", (Silent,), {"note": lambda self, text: notes.append(text)})()
    say_chat_date(resolve_model(str(chat_model)), progress)
    assert "2024-07-26" in notes[0]


def test_templates_in_files_of_their_own_are_fetched_with_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    named = "additional_chat_templates/rag.jinja"
    files = ["config.json", "model.safetensors", "tokenizer.json", "README.md", named, "additional_chat_templates/x.md"]
    fetched: list[str] = []
    monkeypatch.setattr(hub, "file_sizes", lambda *_: dict.fromkeys(files, 1))
    monkeypatch.setattr(hub, "known_commit", lambda *_: None)
    monkeypatch.setattr(hub, "read_receipt", lambda *_: None)
    monkeypatch.setattr(hub, "write_receipt", lambda *_: None)
    monkeypatch.setattr(hub, "commit_of", lambda *_: "0" * 40)
    monkeypatch.setattr(hub, "download", lambda _, __, sizes, ___: fetched.extend(sizes))
    HubModel("org/name").fetch(Silent())
    assert sorted(fetched) == sorted(["config.json", "model.safetensors", "tokenizer.json", named])
