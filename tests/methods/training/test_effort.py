"""What methods say that they read, counted by hand and by a hook on the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.values import AlignmentReport, Effort, PreferencePair
from bench.methods.base import METHODS, AlignmentContext
from bench.methods.shared import SharedWork

pytestmark = pytest.mark.slow

MakeModel = Callable[..., PreTrainedModel]
PAIRS = [PreferencePair(f"say {i:02}", f" kind {i:02}", f" rude words {i:02}") for i in range(10)]
CHOSEN = 10 * len("say 00 kind 00")  # the tokenizer makes a token of each byte
REJECTED = 10 * len("say 00 rude words 00")


@contextmanager
def counted(model: PreTrainedModel) -> Iterator[dict[bool, int]]:
    """Tokens that pass the model, padding left out, by whether gradients were wanted."""
    tokens = {True: 0, False: 0}

    def count(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if kwargs.get("attention_mask") is not None:  # the look at a merged model has none, and is no work of a method
            tokens[torch.is_grad_enabled()] += int(kwargs["attention_mask"].sum())

    handle = model.get_submodule("model").register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield tokens
    finally:
        handle.remove()


@pytest.fixture
def align(
    make_model: MakeModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> Callable[..., tuple[AlignmentReport, dict[bool, int]]]:
    def run(
        name: str,
        shared: SharedWork | None = None,
        pairs: Sequence[PreferencePair] = PAIRS,
        seed: int = 0,
        **settings: Any,
    ) -> tuple[AlignmentReport, dict[bool, int]]:
        model = make_model("llama")
        context = AlignmentContext(seed, "tiny", tmp_path, shared=shared or SharedWork())
        with counted(model) as tokens:
            report = METHODS[name](**settings).align(model, tiny_tokenizer, pairs, context=context)
        return report, tokens

    return run


def effort(report: AlignmentReport) -> Effort:
    assert report.effort is not None
    return report.effort


Align = Callable[..., tuple[AlignmentReport, dict[bool, int]]]


def test_profs_reads_every_text_once_and_trains_nothing(align: Align) -> None:
    shared = SharedWork()
    report, tokens = align("profs", shared, rank=1, layers="all")
    assert report.effort == Effort(tokens_forward=CHOSEN + REJECTED)
    assert tokens == {True: 0, False: CHOSEN + REJECTED}
    again, tokens = align("profs", shared, rank=2, layers="all")
    assert again.effort == report.effort
    assert tokens == {True: 0, False: 0}  # all was there already; it counts all the same


def test_a_search_for_rank_and_layers_is_counted(align: Align) -> None:
    report, tokens = align("profs", rank="cv", cv_ranks=(1, 2), cv_layers=["0", "all"], layers="cv", cv_folds=2)
    assert effort(report).tokens_forward == tokens[False] > 3 * (CHOSEN + REJECTED)


def test_a_control_that_reads_nothing_has_read_nothing(align: Align) -> None:
    report, tokens = align("profs-random", rank=1, layers="all")
    assert effort(report).tokens_forward is None
    assert tokens == {True: 0, False: 0}


@pytest.mark.parametrize(
    ("name", "trained", "reference"),
    [
        ("dpo", CHOSEN + REJECTED, CHOSEN + REJECTED),
        ("cdpo", CHOSEN + REJECTED, CHOSEN + REJECTED),
        ("sft", CHOSEN, None),
        ("simpo", CHOSEN + REJECTED, None),
        ("orpo", CHOSEN + REJECTED, None),
    ],
)
def test_training_counts_steps_tokens_and_the_reference(
    name: str, trained: int, reference: int | None, align: Align
) -> None:
    report, tokens = align(name, batch_size=4, epochs=2, lora_rank=2)
    assert report.effort == Effort(steps=6, tokens_trained=2 * trained, tokens_forward=reference)
    assert tokens == {True: 2 * trained, False: reference or 0}


@pytest.mark.parametrize("name", ["dpo", "sft", "simpo", "orpo"])
def test_looks_at_validation_pairs_are_counted(name: str, align: Align) -> None:
    report, tokens = align(name, batch_size=2, epochs=2, lora_rank=2, validation=3, evaluate_every=4)
    found = effort(report)
    assert found.tokens_forward == tokens[False]
    assert found.tokens_trained == tokens[True]


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 5},
        {"batch_size": 4, "epochs": 2},
        {"batch_size": 4, "max_steps": 4, "epochs": 2},
        {"batch_size": 2, "gradient_accumulation": 2, "max_steps": 4, "epochs": 2},
        {"batch_size": 2, "epochs": 2, "validation": 3, "evaluate_every": 4},
    ],
)
def test_kto_counts_the_mismatched_texts_of_every_step(settings: dict[str, Any], align: Align) -> None:
    report, tokens = align("kto", lora_rank=2, **settings)
    found = effort(report)
    assert (found.tokens_trained, found.tokens_forward) == (tokens[True], tokens[False])


def test_a_sweep_of_six_noise_rates_is_six_trainings_and_one_reference_pass(align: Align) -> None:
    def read(rate: int, shared: SharedWork | None = None) -> dict[bool, int]:
        noisy = [pair.flipped() if row < rate else pair for row, pair in enumerate(PAIRS)]
        return align("dpo", shared, pairs=noisy, batch_size=4, lora_rank=2)[1]

    shared = SharedWork()
    sweep = [read(rate, shared) for rate in range(6)]
    alone = [read(rate) for rate in range(6)]
    assert [tokens[True] for tokens in sweep] == [tokens[True] for tokens in alone]
    reference = alone[0][False]
    assert [tokens[False] for tokens in alone] == [reference] * 6
    assert [tokens[False] for tokens in sweep] == [reference, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("name", ["dpo", "kto"])
def test_seeds_that_set_other_pairs_aside_share_the_reference(name: str, align: Align) -> None:
    shared = SharedWork()
    passes = [align(name, shared, seed=seed, validation=3, lora_rank=2)[1][False] for seed in range(3)]
    alone = [align(name, seed=seed, validation=3, lora_rank=2)[1][False] for seed in range(3)]
    assert alone == [alone[0], passes[1] + CHOSEN + REJECTED, passes[2] + CHOSEN + REJECTED]
    assert passes[0] == alone[0]
