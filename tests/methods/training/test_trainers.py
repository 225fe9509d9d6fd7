"""No position goes past the output head that no loss reads, and the numbers are TRL's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from trl.trainer import utils

from bench.core.values import PreferencePair
from bench.methods.base import METHODS, AlignmentContext
from bench.methods.training import trainers
from bench.methods.training.trainers import scored_positions_only

MakeModel = Callable[..., PreTrainedModel]
PAIRS = [PreferencePair("a long prompt " * (i + 1), " kind" + "!" * i, " rude words") for i in range(4)]
CHOSEN = sum(len(pair.chosen) for pair in PAIRS)  # the tokenizer makes a token of each byte
REJECTED = sum(len(pair.rejected) for pair in PAIRS)


@pytest.fixture
def head_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Positions that went past the head, pass by pass."""
    rows: list[int] = []

    class Counted(utils._ChunkedLogProbFunction):  # type: ignore[misc]  # trl carries no types
        @classmethod
        def apply(cls, hidden: torch.Tensor, *rest: Any) -> Any:
            rows.append(len(hidden))
            return super().apply(hidden, *rest)

    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", Counted)
    return rows


@pytest.fixture
def trained(
    make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, context: AlignmentContext
) -> Callable[[str], dict[str, torch.Tensor]]:
    """All weights after one step of a method."""

    def run(name: str) -> dict[str, torch.Tensor]:
        model = make_model("llama")
        method = METHODS[name](batch_size=4, lora_rank=2, lora_dropout=0.0, learning_rate=1e-3, max_length=256)
        method.align(model, tiny_tokenizer, PAIRS, context=context)
        return model.state_dict()

    return run


@pytest.mark.parametrize(("name", "rows"), [("dpo", CHOSEN + REJECTED), ("sft", CHOSEN), ("kto", None)])
def test_only_what_is_scored_goes_past_the_head_and_the_numbers_stay(
    name: str,
    rows: int | None,
    head_rows: list[int],
    trained: Callable[[str], dict[str, torch.Tensor]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.methods.training.run.check_fused_head", lambda *_: None)  # which reads tokens of its own
    found = trained(name)
    scored, head_rows[:] = sum(head_rows), []
    monkeypatch.setattr(trainers, "SWITCH", "a switch that no TRL has")
    expected = trained(name)
    assert rows in (None, scored)
    assert scored < sum(head_rows) / 4
    for key, weight in expected.items():
        torch.testing.assert_close(found[key], weight, rtol=1e-4, atol=1e-6)


def test_trls_own_way_is_put_back_whatever_happens() -> None:
    cpu, before = torch.device("cpu"), utils._use_triton
    with pytest.raises(KeyError), scored_positions_only():
        assert utils._use_triton(cpu)
        raise KeyError
    assert utils._use_triton is before
    assert not utils._use_triton(cpu)
