"""Losses of windows: logits that nobody reads are not computed, and what is read does not change by it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from bench.core.progress import Silent
from bench.tasks.outputs.losses import window_losses
from bench.tasks.outputs.windows import Window

WINDOWS = [
    Window(0, tuple(range(3, 30)), 20),
    Window(1, tuple(range(5, 17)), 9),
    Window(2, tuple(range(40, 80)), 25),
    Window(3, (7, 9), 1),
]


def losses_by_hand(model: PreTrainedModel, window: Window) -> float:
    with torch.no_grad():
        logits = model(torch.tensor([window.tokens])).logits[0].double()
    seen = torch.log_softmax(logits, dim=-1)
    return -sum(seen[place - 1, window.tokens[place]].item() for place in range(window.first, len(window.tokens)))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_every_scored_token_counts_once(
    family: str, batch_size: int, make_model: Callable[..., PreTrainedModel]
) -> None:
    model = make_model(family)
    found = window_losses(model, WINDOWS, batch_size, Silent())
    assert found == pytest.approx([losses_by_hand(model, window) for window in WINDOWS], rel=1e-5)


def test_logits_before_the_first_scored_token_of_a_batch_are_not_computed(
    make_model: Callable[..., PreTrainedModel],
) -> None:
    model, computed = make_model("llama"), []
    model.lm_head.register_forward_hook(lambda module, inputs, output: computed.append(output.shape[1]))
    window_losses(model, WINDOWS[:1], 4, Silent())
    window_losses(model, [WINDOWS[0], WINDOWS[2]], 4, Silent())
    assert computed == [26 - 19, 39 - 19]


def test_a_model_that_computes_all_logits_anyway_is_read_at_the_same_places(
    make_model: Callable[..., PreTrainedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("llama")
    expected = window_losses(model, WINDOWS, 2, Silent())
    forward = model.forward

    def everything(input_ids: Tensor, attention_mask: Tensor, use_cache: bool) -> Any:
        return forward(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache)

    monkeypatch.setattr(model, "forward", everything)
    found = window_losses(model, WINDOWS, 2, Silent())
    assert found == pytest.approx(expected, rel=1e-6)
    assert all(map(math.isfinite, found))
