"""Text in 16 bits on a CPU: every batch has one number of rows, and a prompt the width of its own length."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import BenchError
from bench.core.passes.shapes import WIDTH_STEP, fixed_rows, fixed_width
from bench.core.progress import Silent
from bench.tasks.outputs.continuations import Continuation, GenerationSettings
from bench.tasks.outputs.generate import generate
from bench.tasks.texts.prompts import Prompt, make_prompt

PROMPTS = [make_prompt(f"{'so ' * count}it is") for count in (0, 1, 2, 9, 10, 4, 3)]
GREEDY = GenerationSettings(max_new_tokens=4)
SAMPLED = GenerationSettings(max_new_tokens=4, samples=3, temperature=1.0, top_p=0.9)


def write(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, settings: GenerationSettings, prompts: list[Prompt]
) -> dict[tuple[str, int], Continuation]:
    found = generate(model, tokenizer, prompts, settings, seed=0, batch_size=4, progress=Silent())
    return {(text.prompt_id, text.sample): text for text in found}


@pytest.mark.parametrize(("settings", "read", "continued"), [(GREEDY, 4, 4), (SAMPLED, 1, 3)])
def test_every_batch_has_the_same_rows_and_prompts_the_width_of_their_length(
    tiny_model: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    settings: GenerationSettings,
    read: int,
    continued: int,
) -> None:
    shapes: list[tuple[int, ...]] = []
    tiny_model.bfloat16().register_forward_pre_hook(
        lambda module, args, named: shapes.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    found = write(tiny_model, tiny_tokenizer, settings, PROMPTS)
    assert len(found) == len(PROMPTS) * settings.samples
    assert {shape for shape in shapes if shape[1] > 1} == {(read, WIDTH_STEP), (read, 2 * WIDTH_STEP)}
    assert {shape for shape in shapes if shape[1] == 1} == {(continued, 1)}


@pytest.mark.parametrize("settings", [GREEDY, SAMPLED])
def test_text_depends_neither_on_other_prompts_nor_on_their_order(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, settings: GenerationSettings
) -> None:
    model = tiny_model.bfloat16()
    found = write(model, tiny_tokenizer, settings, PROMPTS)
    assert write(model, tiny_tokenizer, settings, PROMPTS[::-1]) == found
    alone = write(model, tiny_tokenizer, settings, PROMPTS[:1])
    assert alone == {name: found[name] for name in alone}


def test_in_float32_nothing_is_filled_up(tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    shapes: list[tuple[int, ...]] = []
    tiny_model.register_forward_pre_hook(
        lambda module, args, named: shapes.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    write(tiny_model, tiny_tokenizer, GREEDY, PROMPTS[:1])
    assert shapes == [(1, len(PROMPTS[0].text)), *[(1, 1)] * 3]


def test_where_memory_runs_out_the_size_is_not_halved(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(**settings: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr(tiny_model.bfloat16(), "generate", exhausted)
    with pytest.raises(
        BenchError, match="out of memory with batches of 4 prompts.*; set batch_size to 2, or free some"
    ):
        write(tiny_model, tiny_tokenizer, GREEDY, PROMPTS)


def test_where_batches_are_of_one_shape() -> None:
    assert fixed_rows("cpu", "bfloat16", 64) == 64
    assert fixed_rows("cpu", "float16", 64, samples=6) == 60
    assert fixed_rows("cpu", "bfloat16", 2, samples=6) == 6
    assert fixed_rows("cpu", "float32", 64) is None
    assert fixed_rows("cuda", "bfloat16", 64) is None
    assert [fixed_width(tokens) for tokens in (1, WIDTH_STEP - 1, WIDTH_STEP)] == [32, 32, 64]  # one is always padding
