"""Embeddings that are found ready are charged what running them took."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.projection.profs import ProFS
from bench.methods.shared import SharedWork

MakeModel = Callable[..., PreTrainedModel]
Planted = Callable[..., list[PreferencePair]]


class BatchClock:
    """Time as the embedding pass sees it: every batch takes `seconds`."""

    def __init__(self) -> None:
        self.now, self.seconds = 0.0, 100.0

    def perf_counter(self) -> float:
        self.now += self.seconds
        return self.now


@pytest.fixture
def batch_clock(monkeypatch: pytest.MonkeyPatch) -> BatchClock:
    from bench.methods.projection import embeddings

    clock = BatchClock()
    monkeypatch.setattr(embeddings, "time", clock)
    return clock


def charged(
    method: ProFS,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    *,
    pairs: Sequence[PreferencePair],
    shared: SharedWork,
) -> float:
    """Seconds that aligning a copy of `model` is charged for work found ready."""
    before = shared.reused_seconds
    method.align(copy.deepcopy(model), tokenizer, pairs, context=AlignmentContext(0, "tiny", Path(), shared=shared))
    return shared.reused_seconds - before


def test_reused_embeddings_are_charged_what_their_own_pass_took(
    planted: Planted, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, batch_clock: BatchClock
) -> None:
    """A tiny pass takes far more a text than a big one, and must not set the price of the big one's texts."""
    model, big, tiny, shared = make_model("llama"), planted(70), planted(2, seed=1), SharedWork()
    around = {"abs": 50}  # what is really found ready besides, in real seconds
    mean, none = ProFS(rank=1, layers="all", center="mean"), ProFS(rank=1, layers="all", center="none")
    assert charged(mean, model, tiny_tokenizer, pairs=big, shared=shared) == pytest.approx(0, **around)
    batch_clock.seconds = 10_000.0
    assert charged(mean, model, tiny_tokenizer, pairs=tiny, shared=shared) == pytest.approx(0, **around)
    assert charged(none, model, tiny_tokenizer, pairs=big, shared=shared) == pytest.approx(500, **around)
    assert charged(none, model, tiny_tokenizer, pairs=tiny, shared=shared) == pytest.approx(10_000, **around)
    both = charged(none, model, tiny_tokenizer, pairs=[*big, *tiny], shared=shared)
    assert both == pytest.approx(10_500, **around)


def test_embeddings_that_are_too_shallow_are_run_again_and_not_charged(
    planted: Planted, make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, batch_clock: BatchClock
) -> None:
    model, pairs, shared = make_model("llama"), planted(8), SharedWork()
    for layers, seconds in (("0", 0), ("1", 0), ("1", 100)):
        taken = charged(ProFS(rank=1, layers=layers), model, tiny_tokenizer, pairs=pairs, shared=shared)
        assert taken == pytest.approx(seconds, abs=50)
