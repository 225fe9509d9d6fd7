"""Tokenizers that know no "a", and special tokens that a model has no embedding for."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import UsageError
from bench.core.passes.prompts import begins_texts, prompt_ids, short_text
from bench.core.progress import Silent
from bench.models.placed import place_model
from bench.tasks.base import EvaluationContext
from bench.tasks.perplexity.task import Perplexity


def without_a(template: str | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer of "b" and "c" alone, which drops all other letters."""
    backend = Tokenizer(models.BPE(vocab={"<e>": 0, "<s>": 1, "b": 2, "c": 3}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if template:
        backend.post_processor = TemplateProcessing(single=template, special_tokens=[("<e>", 0), ("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<e>", bos_token="<s>")


@pytest.mark.parametrize(("template", "opening"), [(None, []), ("<s> $A", [1]), ("$A <e>", []), ("<s> $A <e>", [1])])
def test_a_prompt_is_not_closed_by_a_tokenizer_that_makes_no_token_of_a(
    template: str | None, opening: list[int]
) -> None:
    tokenizer = without_a(template)
    assert short_text(tokenizer) == "b"
    assert prompt_ids(tokenizer, ["", "a", "bc"]) == [opening, opening, [*opening, 2, 3]]
    assert prompt_ids(tokenizer, [""]) == prompt_ids(tokenizer, ["a"]) == [opening]
    assert begins_texts(tokenizer) == bool(opening)


def test_perplexity_is_measured_with_a_tokenizer_that_makes_no_token_of_a(
    make_model: Callable[..., PreTrainedModel], tmp_path: Path
) -> None:
    (tmp_path / "prose.txt").write_text("bc cb bbcc bcb", encoding="utf-8")
    task = Perplexity(source=f"file:{tmp_path / 'prose.txt'}")
    result = task.evaluate(make_model("llama"), without_a(), context=EvaluationContext())
    assert result.metric.value > 1


def test_a_tokenizer_of_special_tokens_alone_is_refused() -> None:
    backend = Tokenizer(models.BPE(vocab={"<e>": 0}, merges=[]))
    with pytest.raises(UsageError, match="no token of any text"):
        prompt_ids(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<e>"), ["b"])


@pytest.mark.parametrize("ends", [True, False])
def test_padding_behind_the_embeddings_is_another_token_of_the_model(
    ends: bool, save_model: Callable[..., Path], tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    folder = save_model(tmp_path)
    padded = copy.deepcopy(tiny_tokenizer)
    padded.add_special_tokens({"pad_token": "[PAD]"} if ends else {"pad_token": "[PAD]", "eos_token": "[END]"})
    assert padded.pad_token_id >= len(tiny_tokenizer)
    padded.save_pretrained(folder)
    generation = folder / "generation_config.json"
    settings = json.loads(generation.read_text(encoding="utf-8"))
    generation.write_text(json.dumps({**settings, "pad_token_id": padded.pad_token_id}), encoding="utf-8")
    model, tokenizer = place_model(f"file:{folder}", device="cpu").load(Silent())
    assert tokenizer.pad_token_id == model.generation_config.pad_token_id == 0
    ids = tokenizer(["b", "a longer text"], padding=True, return_tensors="pt")
    assert torch.isfinite(model(**ids).logits).all()


def test_a_token_beside_every_text_that_the_model_does_not_have_is_refused(
    save_model: Callable[..., Path], tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    folder = save_model(tmp_path)
    opened = copy.deepcopy(tiny_tokenizer)
    opened.add_special_tokens({"bos_token": "[BOS]"})
    opened.backend_tokenizer.post_processor = TemplateProcessing(
        single="[BOS] $A", special_tokens=[("[BOS]", opened.bos_token_id)]
    )
    opened.save_pretrained(folder)
    with pytest.raises(UsageError, match=r"'\[BOS\]' beside every text, which is token 258, .* the first 258 alone"):
        place_model(f"file:{folder}", device="cpu").source.load_tokenizer()
