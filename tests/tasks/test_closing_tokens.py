"""A tokenizer that closes every text: whatever goes on from a prompt goes on as if it did not."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.passes.prompts import prompt_ids
from bench.core.progress import Silent
from bench.core.values import PreferencePair
from bench.methods.pairs.completions import text_ids
from bench.tasks.base import EvaluationContext
from bench.tasks.capability.model import InProcessModel
from bench.tasks.scrubbing.metric import sentence_losses
from bench.tasks.scrubbing.probes import read_sentences
from bench.tasks.toxicity.task import Toxicity

TEXTS = ["You are such a", "", "It begins<|end|>", "<|start|>again", "one\n"]


def closing(tokenizer: PreTrainedTokenizerFast, template: Sequence[str]) -> PreTrainedTokenizerFast:
    """The tokenizer with special tokens put around each text."""
    changed = copy.deepcopy(tokenizer)
    changed.backend_tokenizer.post_processor = TemplateProcessing(
        single=list(template), special_tokens=[("<|end|>", 0), ("<|start|>", 1)]
    )
    return changed


@pytest.fixture(params=[(), ("<|start|>",), ("<|end|>",)], ids=["bare", "start", "end"])
def opening(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return request.param


@pytest.fixture(params=[("<|end|>",), ("<|start|>",), ("<|start|>", "<|end|>")], ids=["end", "other", "two"])
def closed(request: pytest.FixtureRequest, opening: Sequence[str], tiny_tokenizer: Any) -> PreTrainedTokenizerFast:
    return closing(tiny_tokenizer, [*opening, "$A", *request.param])


@pytest.fixture
def plain(opening: Sequence[str], tiny_tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    return closing(tiny_tokenizer, [*opening, "$A"])


@pytest.fixture
def llama(make_model: Any) -> PreTrainedModel:
    model: PreTrainedModel = make_model("llama", initializer_range=0.3)
    return model


def test_a_prompt_is_opened_but_not_closed(closed: PreTrainedTokenizerFast, plain: PreTrainedTokenizerFast) -> None:
    bare = [plain(text)["input_ids"] for text in TEXTS]
    assert prompt_ids(closed, TEXTS) == prompt_ids(plain, TEXTS) == bare
    assert [prompt_ids(closed, [text])[0] for text in TEXTS] == bare
    assert prompt_ids(closed, []) == []


def test_toxicity_and_its_guards_do_not_depend_on_a_closing_token(
    llama: PreTrainedModel,
    closed: PreTrainedTokenizerFast,
    plain: PreTrainedTokenizerFast,
    tmp_path: Path,
    make_model: Any,
) -> None:
    prompts, prose = tmp_path / "prompts.jsonl", tmp_path / "prose.txt"
    prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in TEXTS[:1] + TEXTS[2:]), encoding="utf-8")
    prose.write_text("The town has a mill.\n\nA bridge leads over the river, and boats pass below.", encoding="utf-8")
    task = Toxicity(prompts=f"file:{prompts}", prose=f"file:{prose}", scorer="words", guard_texts=3)
    base = make_model("llama", seed=1)

    def measured(tokenizer: PreTrainedTokenizerFast) -> Any:
        result = task.evaluate(llama, tokenizer, context=EvaluationContext())
        return task.against_base(result, base, tokenizer, context=EvaluationContext())

    assert measured(closed) == measured(plain)


def test_the_probe_does_not_depend_on_a_closing_token(
    llama: PreTrainedModel, closed: PreTrainedTokenizerFast, plain: PreTrainedTokenizerFast
) -> None:
    sentences = read_sentences()[:5]
    ours, theirs = (sentence_losses(sentences, llama, tokenizer, EvaluationContext()) for tokenizer in (closed, plain))
    assert ours == theirs


def test_capability_does_not_depend_on_a_closing_token(
    llama: PreTrainedModel, closed: PreTrainedTokenizerFast, plain: PreTrainedTokenizerFast
) -> None:
    """lm-eval itself takes the answer's first token for the closing one of the question."""
    pairs = [("Is it?", " yes"), ("Is it?", " n"), ("", "x")]
    questions = [("It is", {"until": ["\n"], "max_gen_toks": 4}), ("No", {"until": ["\n"], "max_gen_toks": 4})]

    def answers(tokenizer: PreTrainedTokenizerFast) -> Any:
        model = InProcessModel(llama, tokenizer, 2, Silent())
        scored = model.loglikelihood([Instance("loglikelihood", {}, pair, row) for row, pair in enumerate(pairs)])
        written = model.generate_until(
            [Instance("generate_until", {}, each, row) for row, each in enumerate(questions)]
        )
        return scored, written

    before = closed("a")["input_ids"]
    assert answers(closed) == answers(plain)
    assert closed("a")["input_ids"] == before


def test_pairs_do_not_depend_on_a_closing_token(
    closed: PreTrainedTokenizerFast, plain: PreTrainedTokenizerFast
) -> None:
    pairs = [PreferencePair("I am", " well", " ill"), PreferencePair("", "so", "no<|end|>")]
    assert text_ids(pairs, closed) == text_ids(pairs, plain)
