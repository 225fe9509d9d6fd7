"""The preference task on tiny models: what it reads, what it refuses, and that its numbers are the model's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import UsageError
from bench.core.values import PreferencePair
from bench.methods.pairs.completions import tokenize_pairs
from bench.methods.pairs.likelihoods import batch_logps
from bench.tasks.base import TASKS, EvaluationContext, TaskResult
from bench.tasks.preference_accuracy.task import Preference

PAIRS = [PreferencePair(f"say {i}", f" kind {i}" * (1 + i % 3), f" rude {7 * i}") for i in range(9)]
CONTEXT = EvaluationContext(batch_size=4)


def measure(
    task: Preference, model: PreTrainedModel, base: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, batch: int = 4
) -> TaskResult:
    context = EvaluationContext(batch_size=batch, unaligned=model is base, base_results={})
    result = task.evaluate(model, tokenizer, context=context)
    return task.against_base(result, base, tokenizer, context=replace(context, unaligned=False))


@pytest.fixture
def task() -> Preference:
    return Preference().on_held_out(PAIRS)


def test_it_is_known_by_name() -> None:
    assert TASKS["preference"] is Preference


def test_numbers_are_those_that_dpo_is_trained_on(
    task: Preference, make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    base, other = make_model("llama"), make_model("llama", seed=1)
    found = measure(task, other, base, tiny_tokenizer)
    tokens = tokenize_pairs(PAIRS, tiny_tokenizer, max_length=512, append_eos=False)
    margins = []
    for model in (base, other):
        sides = [batch_logps(model, [pair.chosen, pair.rejected]).tolist() for pair in tokens]
        margins.append([chosen - rejected for chosen, rejected in sides])
    expected = [float(new > old) for old, new in zip(*margins, strict=True)]
    assert found.metric.items is not None
    assert list(found.metric.items.values) == expected
    assert found.metric.value == pytest.approx(sum(expected) / len(PAIRS))
    margin = found.beside["margin"].items
    assert margin is not None
    assert list(margin.values) == pytest.approx(margins[1], rel=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_unchanged_model_is_at_chance_exactly(
    task: Preference, tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, dtype: str
) -> None:
    model = tiny_model.bfloat16() if dtype == "bfloat16" else tiny_model
    found = measure(task, model, model, tiny_tokenizer)
    assert found.metric.items is not None
    assert set(found.metric.items.values) == {0.5}


def test_in_16_bits_on_a_cpu_a_pair_depends_on_no_other(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    model = tiny_model.bfloat16()
    found = measure(Preference().on_held_out(PAIRS), model, model, tiny_tokenizer, batch=32).beside["margin"].items
    fewer = measure(Preference().on_held_out(PAIRS[5:2:-1]), model, model, tiny_tokenizer).beside["margin"].items
    assert found is not None
    assert fewer is not None
    assert fewer.values == found.values[5:2:-1]


def test_base_is_measured_once_for_all_cells(
    task: Preference, make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    base, context = make_model("llama"), replace(CONTEXT, base_results={})
    task.evaluate(base, tiny_tokenizer, context=replace(context, unaligned=True))
    passes: list[object] = []
    base.register_forward_pre_hook(lambda *_: passes.append(1))
    for seed in (1, 2):
        result = task.evaluate(make_model("llama", seed=seed), tiny_tokenizer, context=context)
        task.against_base(result, base, tiny_tokenizer, context=context)
    assert passes == []


def test_the_pairs_are_part_of_the_identity_and_a_limit_takes_the_first(task: Preference) -> None:
    assert task.identity() != Preference().on_held_out(PAIRS[::-1]).identity()
    assert Preference(limit=3).on_held_out(PAIRS).identity() == Preference().on_held_out(PAIRS[:3]).identity()


@pytest.mark.parametrize("pairs", [[], PAIRS[:1]])
def test_fewer_than_two_held_out_pairs_are_refused(pairs: list[PreferencePair]) -> None:
    with pytest.raises(UsageError, match=rf"{len(pairs)} held-out pairs .* raise pairs.held_out"):
        Preference().on_held_out(pairs)


BAD = {
    "too_long": PreferencePair("a prompt that is too long " * 3, " a", " b"),
    "alike": PreferencePair(
        "say", " the same forty letters, and then a change: a", " the same forty letters, and then b"
    ),
    "empty": PreferencePair("", "a", " kind"),  # one token, which nothing precedes
}


@pytest.mark.parametrize("fault", BAD)
def test_a_pair_of_which_nothing_is_left_is_counted_and_never_a_zero(
    fault: str, make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    good, base, other = PAIRS[:4], make_model("llama"), make_model("llama", seed=1)
    task = Preference(max_length=32).on_held_out([*good[:2], BAD[fault], *good[2:]])
    task.check(tiny_tokenizer)
    found = measure(task, other, base, tiny_tokenizer)
    alone = measure(Preference(max_length=32).on_held_out(good), other, base, tiny_tokenizer)
    assert found.metric.counts[fault] == 1
    for metric, without in (
        (found.metric, alone.metric),
        *zip(found.beside.values(), alone.beside.values(), strict=True),
    ):
        assert metric.items is not None
        assert metric.items.values[2] is None
        assert (metric.value, metric.n) == (pytest.approx(without.value), 4)


def test_too_few_pairs_of_which_something_is_left_are_refused_before_a_model_is_loaded(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    task = Preference(max_length=32).on_held_out([PAIRS[0], BAD["too_long"], BAD["alike"]])
    with pytest.raises(
        UsageError, match=r"1 of 3 held-out pairs .* 1 because their prompt fills max_length, 1 because"
    ):
        task.check(tiny_tokenizer)
