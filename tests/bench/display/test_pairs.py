"""What a user sees of a file of pairs before anything is trained on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import UsageError
from bench.core.progress import Silent
from bench.display.pairs import show_pairs

GOOD = [{"question": f"Is {i} so?", "chosen": "\x1b[1myes", "rejected": "no\n" + "no " * 200} for i in range(10)]
SAME = {"question": "Why?", "chosen": "so", "rejected": " so"}


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_counts_columns_and_left_out_rows_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "pairs.jsonl", [*GOOD, *[SAME] * 7, {**SAME, "chosen": "", "score": 2}])
    show_pairs(path, None, 2, Silent())
    lines = capsys.readouterr().out.splitlines()
    assert lines[:6] == [
        f"{path}: JSON lines, 18 rows",
        "18 rows are read as texts: question, chosen, rejected",
        "columns that are not read: score",
        "10 pairs can be used",
        f"1 left out for an empty completion: {path}:18",
        f"7 left out for the same completion twice: {', '.join(f'{path}:{n}' for n in range(11, 16))} and 2 more",
    ]
    assert lines[-1] == (
        f"{path}: 10 pairs: 8 to train on, 2 held out (pairs.held_out), as where nothing else is set; "
        "different prompts: 10"
    )
    assert lines.count(f"{path}:1") == lines.count(f"{path}:2") == 1
    assert f"{path}:3" not in lines


def test_texts_are_shown_exactly_and_never_as_control_signs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**row, "question": f"{index}{'x' * 399}"} for index, row in enumerate(GOOD)]
    show_pairs(write(tmp_path / "pairs.jsonl", rows), None, 1, Silent())
    prompt, chosen, rejected = capsys.readouterr().out.splitlines()[5:8]
    assert prompt == f'  prompt    … "{"x" * 300}" (100 characters before)'
    assert chosen == r'  chosen    " \u001b[1myes"'
    assert rejected.startswith(r'  rejected  " no\nno no')
    assert rejected.endswith('" … (304 characters more)')


def test_what_could_be_read_is_printed_before_pairs_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"post": "Is it so?", "chosen": "yes", "rejected": "no"}]
    with pytest.raises(UsageError, match="these columns are not read: post"):
        show_pairs(write(tmp_path / "pairs.jsonl", rows), None, 1, Silent())
    output = capsys.readouterr().out
    assert "1 rows are read as texts: chosen, rejected; what both begin with is the prompt" in output
    assert "1 pairs have no prompt" in output


def test_messages_are_shown_as_the_model_will_see_them(
    tmp_path: Path, save_model: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    sides = {side: [{"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
    path = write(
        tmp_path / "pairs.jsonl", [{"prompt": [{"role": "user", "content": f"Hi {i}"}], **sides} for i in range(9)]
    )
    with pytest.raises(UsageError, match="can turn into text; name the model"):
        show_pairs(path, None, 1, Silent())
    model = save_model(tmp_path / "model")
    template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    template += "{% if add_generation_prompt %}[assistant]{% endif %}"
    (model / "chat_template.jinja").write_text(template)
    show_pairs(path, f"file:{model}", 1, Silent())
    output = capsys.readouterr().out
    assert "9 rows are read as messages, as the model's chat template writes them" in output
    assert r'  prompt    "[user] Hi 0\n[assistant]"' in output
    assert r'  rejected  " rejected\n"' in output
