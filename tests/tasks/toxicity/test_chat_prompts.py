"""Prompts as a user's messages: what the model is given, what is said of it, and when it changes what is measured."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from bench.core.chat import ChatSettings
from bench.core.errors import BenchError, UsageError
from bench.core.passes.chat_template import ChatTemplate
from bench.core.progress import Progress
from bench.tasks.base import EvaluationContext
from bench.tasks.scorers.base import SCORERS, Scorer
from bench.tasks.toxicity.task import Toxicity

CHATML = (
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


class Halves(Scorer):
    """Calls every text half toxic."""

    def identity(self) -> Mapping[str, Any]:
        return {"name": "halves"}

    def prepare(self, progress: Progress) -> None:
        pass

    def score(self, texts: Sequence[str]) -> list[float | None]:
        return [0.5 for _ in texts]


@pytest.fixture(autouse=True)
def halves():
    with SCORERS.temporarily("halves", Halves):
        yield


@pytest.fixture
def tokenizer(tiny_tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    changed = copy.deepcopy(tiny_tokenizer)
    changed.chat_template = CHATML
    return changed


@pytest.fixture
def task(tmp_path: Path) -> Toxicity:
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"Say {i}"}) + "\n" for i in range(3)))
    prompts = f"file:{tmp_path / 'prompts.jsonl'}"
    return Toxicity(prompts=prompts, scorer="halves", max_new_tokens=3, prose_tokens=0)


def settled(task: Toxicity, tokenizer: PreTrainedTokenizerFast, **chat: Any) -> Toxicity:
    return task.settle(ChatSettings(**chat), lambda settings: ChatTemplate.of(tokenizer, settings).info)


def test_the_model_answers_what_the_user_says(task, tokenizer, make_model):
    model = make_model("llama")
    context = EvaluationContext()
    plain = settled(task, tokenizer, apply=False).evaluate(model, tokenizer, context=context)
    asked = settled(task, tokenizer, apply=True, system_prompt="Be kind").evaluate(model, tokenizer, context=context)
    assert "prompt_in_chat" not in plain.generations[0]
    for row in asked.generations:
        system = "<|start|>system\nBe kind<|end|>\n"
        question = f"{system}<|start|>user\n{row['prompt']}<|end|>\n<|start|>assistant\n"
        assert row["prompt_in_chat"] == question
    words = [[row["continuation"] for row in result.generations] for result in (plain, asked)]
    assert words[0] != words[1]
    assert plain.metric.items.ids_sha256 == asked.metric.items.ids_sha256  # the same prompts
    assert asked.metric.details["departures"]["apply_chat_template"] is True
    assert "apply_chat_template" not in plain.metric.details["departures"]
    compared = settled(task, tokenizer, apply=True).against_base(asked, model, tokenizer, context=context)
    assert compared.metric.details["guards"]["base_perplexity"] > 0


def test_a_chat_is_part_of_what_is_measured_and_none_leaves_it_as_it_was(task, tokenizer):
    off, on = (settled(task, tokenizer, apply=apply).identity() for apply in (False, True))
    assert off == task.identity()
    assert off["chat_template"] is None
    assert on == {**off, "chat_template": {"sha256": on["chat_template"]["sha256"], "system_prompt": None}}
    kind = settled(task, tokenizer, apply=True, system_prompt="Be kind").identity()
    other = copy.deepcopy(tokenizer)
    other.chat_template = f" {CHATML}"
    assert len({json.dumps(each) for each in (on, kind, settled(task, other, apply=True).identity())}) == 3


@pytest.mark.parametrize(("own", "run", "applied"), [(None, True, True), (False, True, False), (True, False, True)])
def test_the_task_decides_for_itself_where_it_says_so(task, tokenizer, own, run, applied):
    own_task = task.model_copy(update={"apply_chat_template": own})
    assert settled(own_task, tokenizer, apply=run).apply_chat_template is applied


def test_a_system_prompt_without_a_chat_is_refused(task, tokenizer):
    with pytest.raises(UsageError, match=r"tasks\.toxicity\.system_prompt is set"):
        settled(task.model_copy(update={"system_prompt": "Be kind"}), tokenizer, apply=False)


def test_a_prompt_that_the_template_refuses_is_named_before_weights_are_loaded(task, tokenizer):
    tokenizer.chat_template = (
        "{% if 'Say 2' in messages[-1].content %}{{ raise_exception('not that') }}{% endif %}" + CHATML
    )
    with pytest.raises(UsageError, match=r"prompt 'Say 2': .* not that"):
        settled(task, tokenizer, apply=True).check(tokenizer)


def test_a_template_that_changed_after_planning_is_refused(task, tokenizer):
    planned = settled(task, tokenizer, apply=True)
    tokenizer.chat_template = f" {CHATML}"
    with pytest.raises(BenchError, match="chat template changed"):
        planned.check(tokenizer)


def test_writing_ends_where_the_template_ends_a_turn(task, tokenizer, make_model):
    model = make_model("llama")
    model.generation_config.eos_token_id = 5  # not what the template ends turns with
    model.get_output_embeddings().weight.data.zero_()  # all tokens are alike, of which the first one is taken
    assert tokenizer.eos_token_id == 0
    ended = settled(task, tokenizer, apply=True).evaluate(model, tokenizer, context=EvaluationContext())
    assert all(row["ended"] and row["n_tokens"] == 0 for row in ended.generations)
    plain = settled(task, tokenizer, apply=False).evaluate(model, tokenizer, context=EvaluationContext())
    assert not any(row["ended"] for row in plain.generations)
