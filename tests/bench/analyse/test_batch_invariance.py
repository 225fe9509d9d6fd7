"""`bench doctor --batch-invariance`: what the batch size changes is found, told, and judged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from typer.testing import CliRunner

from bench.analyse.batch_invariance import (
    Behaviour,
    Invariance,
    InvarianceVerdict,
    SizeFinding,
    compare_batches,
    first_difference,
    measure_invariance,
)
from bench.cli.doctor import doctor
from bench.core.errors import BenchError, UsageError
from bench.core.passes.batching import Batching
from bench.core.progress import Silent
from bench.display.doctor import advice
from bench.models.sources import FileModel

app = typer.Typer()
app.command()(doctor)


@pytest.fixture
def request_(tmp_path: Path, save_model: Callable[..., Path]) -> dict[str, Any]:
    folder = save_model(tmp_path / "model")
    prompts = tmp_path / "prompts.jsonl"
    lines = [json.dumps({"prompt": "word " * (1 + index % 5) + str(index)}) for index in range(12)]
    prompts.write_text("\n".join(lines), encoding="utf-8")
    settings = {"limit": 12, "prompts": f"file:{prompts}", "device": "cpu", "dtype": "float32"}
    return {"model": f"file:{folder}", "progress": Silent(), **settings}


def finding(size: int, **changes: Any) -> SizeFinding:
    return SizeFinding(batch_size=size, rows_at_once=size, seconds=1.0, **changes)


def invariance(*sizes: SizeFinding, dtype: str = "float32") -> Invariance:
    return Invariance(model="file:x", dtype=dtype, device="cpu", prompts=64, sizes=sizes)


def test_a_sound_model_changes_by_rounding_alone(request_: dict[str, Any]) -> None:
    found = measure_invariance(**request_)
    assert [(size.batch_size, size.rows_at_once) for size in found.sizes] == [(1, 1), (8, 8), (12, 12)]
    assert found.verdict in (InvarianceVerdict.identical, InvarianceVerdict.rounding)
    for size in found.sizes:
        assert size.texts_changed == 0 and size.first_change is None and size.seconds > 0
        assert size.loss_change < 1e-5 and size.log_probability_change < 1e-4
    assert found.dtype == "float32" and found.device == "cpu" and found.prompts == 12


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models from files see their padding as they write, from the second token on."""
    load = FileModel.load

    def load_blind(self: FileModel, **settings: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
        model, tokenizer = load(self, **settings)
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(3)

        def unmask(_: Any, args: Any, settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            later = settings["input_ids"].shape[1] == 1
            return args, {**settings, "attention_mask": None if later else settings.get("attention_mask")}

        model.register_forward_pre_hook(unmask, with_kwargs=True)
        return model, tokenizer

    monkeypatch.setattr(FileModel, "load", load_blind)


@pytest.mark.usefixtures("blind")
def test_a_model_that_sees_its_padding_writes_unpadded_and_it_is_said(request_: dict[str, Any]) -> None:
    found = measure_invariance(**request_, sizes=[12, 1])
    assert [(size.batch_size, size.texts_changed) for size in found.sizes] == [(1, 0), (12, 0)]
    assert 1 < found.sizes[1].rows_at_once < 12
    assert found.writing is Batching.equal
    assert "does not leave out the padding before a text: every run writes rows of equal width only" in advice(found)


@pytest.mark.usefixtures("blind")
def test_padding_that_shows_from_the_second_token_on_is_not_taken_for_rounding(
    request_: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.models.placed.examine_batching", lambda model: Batching.padded)
    found = measure_invariance(**request_, sizes=[12, 1])
    assert [size.batch_size for size in found.sizes] == [1, 12]
    assert found.verdict is InvarianceVerdict.wrong
    assert found.sizes[1].texts_changed > 0 and found.sizes[1].first_change == 2
    assert found.sizes[1].loss_change < 1e-5  # losses are not written
    assert "WRONG" in advice(found) and "padding before texts or neighbouring texts reach" in advice(found)
    assert "--batch-size 1 " in advice(found)


def test_a_batch_that_memory_makes_smaller_is_told(request_: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    load = FileModel.load

    def tight(self: FileModel, **settings: Any) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
        model, tokenizer = load(self, **settings)
        whole = model.generate

        def generate(input_ids: torch.Tensor, **rest: Any) -> Any:
            if len(input_ids) > 6:
                raise torch.OutOfMemoryError("full")
            return whole(input_ids=input_ids, **rest)

        monkeypatch.setattr(model, "generate", generate)
        return model, tokenizer

    monkeypatch.setattr(FileModel, "load", tight)
    found = measure_invariance(**request_, sizes=[1, 12])
    assert [size.rows_at_once for size in found.sizes] == [1, 6]


def test_the_first_token_that_differs_is_found() -> None:
    assert first_difference([5, 6, 7], [5, 6, 7]) is None
    assert first_difference([5, 6, 7], [5, 9, 7]) == 2
    assert first_difference([5, 6], [5, 6, 7]) == 3
    assert first_difference([], [1]) == 1


def test_changes_are_those_planted() -> None:
    ruled_out = float("-inf")
    rows = [[-1.0, ruled_out], [-2.0, -3.0], [-9.0, -9.0]], [[-2.0, -3.0], [-9.0, -9.0], [-9.0, -9.0]]
    changed = [[-1.0, ruled_out], [-2.5, -3.0], [0.0, 0.0]], [[-2.0, -3.25], [0.0, 0.0], [0.0, 0.0]]
    one = Behaviour([[1, 2, 3], [3]], [torch.tensor(row) for row in rows], [], [1.0, 2.0], 1, 9)
    other = Behaviour([[1, 4, 3], [3]], [torch.tensor(row) for row in changed], [], [1.0, 2.25], 2, 3)
    assert compare_batches(one, other, 2) == SizeFinding(
        batch_size=2,
        rows_at_once=2,
        seconds=3,
        texts_changed=1,
        first_change=2,
        log_probability_change=0.5,
        loss_change=0.25,
    )
    broken = Behaviour([[1, 2], [3]], [torch.tensor([[float("nan")] * 2] * 2)] * 2, [], [1.0, 2.0], 1, 9)
    with pytest.raises(BenchError, match="not finite at batch size 2"):
        compare_batches(broken, broken, 2)


@pytest.mark.parametrize(
    ("found", "verdict", "said"),
    [
        (invariance(finding(1), finding(8)), InvarianceVerdict.identical, "bit for bit"),
        (invariance(finding(1), finding(8, loss_change=1e-7)), InvarianceVerdict.rounding, "within 1e-07 nats a token"),
        (
            invariance(
                finding(1), finding(8, texts_changed=3, first_change=2, log_probability_change=0.3), dtype="bfloat16"
            ),
            InvarianceVerdict.texts_change,
            "3 of 64 texts depend on the batch size: bfloat16 .* use --dtype float32, or give every run the same",
        ),
        (
            invariance(finding(1), finding(8, texts_changed=3, first_change=2, log_probability_change=1e-4)),
            InvarianceVerdict.texts_change,
            "To compare numbers, give every run the same --batch-size N",
        ),
        (
            invariance(finding(1), finding(8, log_probability_change=0.3)),
            InvarianceVerdict.wrong,
            "more than float32 rounds",
        ),
        (
            invariance(finding(1), finding(8, loss_change=0.3)),
            InvarianceVerdict.wrong,
            "by 0.3 nats, more than float32 rounds",
        ),
    ],
)
def test_the_verdict_is_the_worst_found_and_says_what_to_do(
    found: Invariance, verdict: InvarianceVerdict, said: str
) -> None:
    import re

    assert found.verdict is verdict
    assert re.search(said, advice(found))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": [0, 4]}, "at least one text; found batch size 0"),
        ({"sizes": [4]}, "two batch sizes or more .* found 4"),
        ({"sizes": [4, 4]}, "two batch sizes or more"),
        ({"sizes": [1, 64]}, "12 prompts do not fill a batch of 64"),
        ({"model": "no-such-model"}, "no-such-model"),
        ({"dtype": "float33"}, "dtype"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"prompts": "nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_a_model_is_loaded(
    request_: dict[str, Any], changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileModel, "load", lambda self, **settings: pytest.fail("loaded"))
    with pytest.raises(UsageError, match=message):
        measure_invariance(**request_ | changes)


def test_the_verb_prints_a_table_and_exits_by_the_verdict(
    request_: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--batch-invariance", request_["model"], "--prompts", request_["prompts"], "--limit", "12"]
    arguments += ["--batch-sizes", "1,4", "--device", "cpu", "--dtype", "float32"]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    worse = invariance(finding(1), finding(4, texts_changed=2, first_change=1, log_probability_change=1e-5))
    monkeypatch.setattr("bench.analyse.batch_invariance.measure_invariance", lambda *_, **__: worse)
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-invariance", "x", "--batch-sizes", "few"], "--batch-sizes takes numbers"),
        (["--batch-invariance", "x", "--batch-sizes", "1,1.5"], "--batch-sizes takes whole numbers"),
        (["--batch-sizes", "1,8"], "--batch-sizes goes with --batch-invariance MODEL"),
        (["--limit", "8"], "--limit goes with --batch-invariance MODEL"),
    ],
)
def test_flags_that_make_no_sense_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_the_plain_verb_is_the_diagnosis(monkeypatch: pytest.MonkeyPatch) -> None:
    for healthy, status in ((True, 0), (False, 1)):
        monkeypatch.setattr("bench.display.doctor.show_diagnosis", lambda healthy=healthy: healthy)
        assert CliRunner().invoke(app, [], catch_exceptions=False).exit_code == status
