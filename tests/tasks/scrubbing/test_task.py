"""The over-scrubbing task: planted harm is found where it was planted, and nowhere else."""

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
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import bench.tasks.scorers.base
import bench.tasks.scrubbing.probes
import bench.tasks.scrubbing.task
from bench.core.errors import BenchError, UsageError
from bench.core.progress import Progress, Silent
from bench.core.registry import Registry
from bench.tasks.base import TASKS, EvaluationContext, TaskResult
from bench.tasks.scorers.base import Scorer
from bench.tasks.scrubbing.metric import Losses, compare_groups, probe_metric, sentence_losses
from bench.tasks.scrubbing.probes import DOMAINS, GROUPS, ProbeSentence, choose_sentences, read_prompts, read_sentences
from bench.tasks.scrubbing.task import Scrubbing, continued

ALL = read_sentences()
CONTEXT = EvaluationContext(batch_size=16)


class Letters(Scorer):
    """The share of one letter among a text's characters."""

    letter: str = "a"

    def identity(self) -> Mapping[str, Any]:
        return {"scorer": "letters", "letter": self.letter}

    def prepare(self, progress: Progress) -> None:
        pass

    def score(self, texts: Sequence[str]) -> list[float | None]:
        return [text.count(self.letter) / len(text) if self.letter != "!" else math.nan for text in texts]


@pytest.fixture(autouse=True)
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    registry: Registry[Scorer] = Registry("scorer", {}, group="none")
    registry.register("letters")(Letters)
    monkeypatch.setattr(bench.tasks.scorers.base, "SCORERS", registry)


def losses(rise: Callable[[ProbeSentence], float] = lambda sentence: 0.0) -> Losses:
    """Every sentence has as many tokens as characters and a loss that varies, plus `rise` nats a token."""
    tokens = [len(sentence.text) for sentence in ALL]
    totals = [
        count * (2 + math.sin(row) + rise(sentence))
        for row, (sentence, count) in enumerate(zip(ALL, tokens, strict=True))
    ]
    return Losses(ALL, totals, tokens)


def test_harm_to_the_probe_alone_is_all_excess() -> None:
    found = compare_groups(losses(), losses(lambda each: 0.0 if each.kind == "plain" else math.log(1.3)), seed=0)
    assert found["excess_rise"]["value"] == pytest.approx(0.3)
    for part in (found["by_kind"], found["by_group"], found["by_domain"]):
        assert [each["excess_rise"] for each in part.values()] == pytest.approx([0.3] * len(part))
    assert list(found["by_group"]) == list(GROUPS)
    assert list(found["by_domain"]) == list(DOMAINS)
    assert {each["n"] for each in found["by_group"].values()} == {17}
    assert {each["n"] for each in found["by_domain"].values()} == {15}
    assert {kind: each["n"] for kind, each in found["by_kind"].items()} == {"identity": 204, "strong": 120}


def test_harm_to_everything_is_no_excess() -> None:
    found = compare_groups(losses(), losses(lambda each: math.log(1.7)), seed=0)
    assert found["excess_rise"]["value"] == pytest.approx(0, abs=1e-9)


def test_harm_to_one_group_is_found_there() -> None:
    before = losses()
    after = losses(lambda each: 0.5 if each.group == "gay" else 0.01 * math.sin(len(each.text)))
    found = compare_groups(before, after, seed=0)
    by_group = found["by_group"]
    assert max(by_group, key=lambda group: by_group[group]["excess_rise"]) == "gay"
    assert by_group["gay"]["excess_rise"] == pytest.approx(math.expm1(0.5), rel=0.02)
    assert by_group["gay"]["ci95"][0] > 0.5
    assert abs(by_group["deaf"]["excess_rise"]) < 0.02
    assert found["by_kind"]["strong"]["ci95"][0] < 0 < found["by_kind"]["strong"]["ci95"][1]
    assert len(found["worst"]) == 10
    assert {row["id"].rpartition("-")[2] for row in found["worst"] if row["id"].count("-") == 2} <= {
        "gay",
        *map(str, range(1, 8)),
    }
    assert all("gay" in row["text"] for row in found["worst"])


def test_the_same_model_has_exactly_no_excess() -> None:
    found = compare_groups(losses(), losses(), seed=0)
    assert found["excess_rise"] == {"value": 0.0, "ci95": (0.0, 0.0)}
    assert found["worst"] == []


def test_noise_that_knows_no_kind_has_an_interval_over_nothing() -> None:
    found = compare_groups(
        losses(), losses(lambda each: 0.3 + 0.2 * math.sin(31 * len(each.text) + ord(each.text[5]))), seed=0
    )
    low, high = found["excess_rise"]["ci95"]
    assert low < 0 < high
    assert high - low < 0.2


def test_the_metric_weighs_tokens_and_keeps_frames_whole() -> None:
    found = losses()
    metric = probe_metric(found, seed=0)
    rows = [row for row, sentence in enumerate(ALL) if sentence.kind != "plain"]
    mean = sum(found.totals[row] for row in rows) / sum(found.tokens[row] for row in rows)
    assert metric.value == pytest.approx(math.exp(mean))
    assert metric.details["perplexity"]["probe"] == pytest.approx(metric.value)
    assert metric.unit == "perplexity per token"
    assert not metric.higher_is_better
    assert metric.items is not None and metric.items.weights is not None
    assert metric.n == len(metric.items.values) == 10 + 84 + 120
    assert sum(metric.items.weights) == metric.details["tokens"] == sum(found.tokens[row] for row in rows)
    frame = [row for row in rows if ALL[row].frame == "cello"]
    expected = sum(found.totals[row] for row in frame) / sum(found.tokens[row] for row in frame)
    assert metric.items.values[0] == pytest.approx(expected)


@pytest.mark.parametrize("loss", [math.nan, math.inf, 1e5])
def test_a_diverged_sentence_leaves_no_number(loss: float) -> None:
    broken = losses()
    broken = replace(broken, totals=[loss, *broken.totals[1:]])
    metric = probe_metric(broken, seed=0)
    assert (metric.value, metric.ci95, metric.counts) == (None, None, {"diverged": 1})
    for found in (compare_groups(losses(), broken, seed=0), compare_groups(broken, losses(), seed=0)):
        assert found["excess_rise"] == {"value": None, "ci95": None}
        assert found["by_group"]["deaf"] == {"excess_rise": None, "ci95": None, "n": 17}
        json.dumps(found, allow_nan=False)


def test_a_gap_between_groups_is_found_in_whole_frames() -> None:
    prompts = read_prompts()
    judged: list[float | None] = [
        (0.8 if prompt.group == "jewish" else 0.1) + 0.01 * (row % 7) for row, prompt in enumerate(prompts)
    ]
    found = continued(prompts, judged, seed=0)
    assert found["toxicity_gap"]["highest"] == "jewish"
    assert found["toxicity_gap"]["frames"] == 12
    assert found["toxicity_gap"]["p_value"] < 0.01
    assert found["toxicity_by_group"]["jewish"] == pytest.approx(0.83, abs=0.03)
    judged[0] = None
    fewer = continued(prompts, judged, seed=0)
    assert (fewer["toxicity_gap"]["frames"], fewer["frames_without_all_scores"]) == (11, 1)


def test_silence_has_no_gap() -> None:
    found = continued(read_prompts(), [None] * 144, seed=0)
    assert found == {"toxicity_gap": None, "toxicity_by_group": None, "frames_without_all_scores": 12}


def both(task: Scrubbing, model: PreTrainedModel, base: PreTrainedModel, tokenizer: Any) -> TaskResult:
    task.prepare(Silent())
    result = task.evaluate(model, tokenizer, context=CONTEXT)
    return task.against_base(result, base, tokenizer, context=CONTEXT)


def test_base_against_itself(tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    task = Scrubbing(limit=24, max_new_tokens=3, scorer="letters")
    result = both(task, tiny_model, tiny_model, tiny_tokenizer)
    details = result.metric.details
    assert details["excess_rise"] == {"value": 0.0, "ci95": (0.0, 0.0)}
    assert details["perplexity"] == details["base_perplexity"]
    assert details["sentences"] == {"identity": 24, "strong": 24, "plain": 24}
    assert details["scorer"] == "letters"
    json.dumps(result.metric.model_dump(mode="json"), allow_nan=False)
    rows = result.generations
    assert len(rows) == 24
    assert {row["group"] for row in rows} == set(GROUPS)
    assert len({row["frame"] for row in rows}) == 2
    assert all(row["group"] in row["prompt"].casefold() and row["kind"] == "identity" for row in rows)
    again = task.evaluate(tiny_model, tiny_tokenizer, context=EvaluationContext(batch_size=5))
    assert [row["continuation"] for row in again.generations] == [row["continuation"] for row in rows]
    assert again.metric.value == pytest.approx(result.metric.value, rel=1e-5)


def test_the_unaligned_model_is_measured_once_for_all_cells(
    make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[PreTrainedModel] = []
    whole = sentence_losses

    def counted(sentences: Sequence[ProbeSentence], model: PreTrainedModel, *rest: Any) -> Losses:
        measured.append(model)
        return whole(sentences, model, *rest)

    task = Scrubbing(limit=12, max_new_tokens=2, scorer="letters")
    base, aligned = make_model("llama", seed=1), make_model("llama", seed=2)
    apart = [both(task, model, base, tiny_tokenizer).metric for model in (base, aligned)]
    monkeypatch.setattr(bench.tasks.scrubbing.task, "sentence_losses", counted)
    context = EvaluationContext(batch_size=16, base_results={})
    together = []
    for model in (base, aligned):
        result = task.evaluate(model, tiny_tokenizer, context=replace(context, unaligned=model is base))
        together.append(task.against_base(result, base, tiny_tokenizer, context=context).metric)
    assert together == apart
    assert measured == [base, aligned]


def test_the_excess_is_that_of_the_perplexities_and_the_gap_that_of_the_text(
    make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """A model to which each letter is as likely as any other, and a base that always writes the letter a."""
    base, model = make_model("gpt2", tie_word_embeddings=False), make_model("gpt2", tie_word_embeddings=False)
    model.lm_head.weight.data.zero_()
    base.transformer.ln_f.weight.data.zero_()
    base.transformer.ln_f.bias.data.fill_(1.0)
    base.lm_head.weight.data.zero_()
    base.lm_head.weight.data[tiny_tokenizer.convert_tokens_to_ids("a")] = 0.1
    task = Scrubbing(limit=24, max_new_tokens=2, scorer="letters")
    found = both(task, model, base, tiny_tokenizer).metric
    size = len(tiny_tokenizer)
    assert found.value == pytest.approx(size, rel=1e-5)
    shown = found.details["base_perplexity"]
    assert shown["probe"] != pytest.approx(shown["plain"], rel=1e-3)
    expected = (size / shown["probe"]) / (size / shown["plain"]) - 1
    assert found.details["excess_rise"]["value"] == pytest.approx(expected, rel=1e-4)
    written = task.evaluate(base, tiny_tokenizer, context=CONTEXT)
    assert {row["continuation"] for row in written.generations} == {"aa"}
    gap = written.metric.details["toxicity_gap"]
    assert (gap["value"], gap["ci95"], gap["p_value"], gap["frames"]) == (0.0, None, 1.0, 2)


def test_losses_are_those_of_the_sentence_alone(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    chosen = choose_sentences(ALL, 12)[:5]
    found = sentence_losses(chosen, tiny_model, tiny_tokenizer, CONTEXT)
    for sentence, total, count in zip(chosen, found.totals, found.tokens, strict=True):
        tokens = torch.tensor([tiny_tokenizer(sentence.text)["input_ids"]])
        with torch.no_grad():
            mean = float(tiny_model(tokens, labels=tokens).loss)
        assert count == tokens.shape[1] - 1
        assert total == pytest.approx(mean * count, rel=1e-5)


def test_identity_holds_all_that_changes_the_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    base = Scrubbing(scorer="letters").identity()
    assert json.loads(json.dumps(base)) == base
    changes: list[dict[str, Any]] = [
        {"limit": 12},
        {"max_new_tokens": 10},
        {"seed": 1},
        {"scorer_settings": {"letter": "b"}},
    ]
    identities = [json.dumps(Scrubbing(**({"scorer": "letters"} | change)).identity()) for change in changes]
    other = tmp_path / "benign.jsonl"
    other.write_bytes(bench.tasks.scrubbing.probes.SENTENCES.read_bytes().replace(b"ladder", b"hammer"))
    monkeypatch.setattr(bench.tasks.scrubbing.probes, "SENTENCES", other)
    identities.append(json.dumps(Scrubbing(scorer="letters").identity()))
    assert len({json.dumps(base), *identities}) == len(changes) + 2


def test_what_cannot_be_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="unknown scorer 'leters'; did you mean 'letters'"):
        Scrubbing(scorer="leters")
    with pytest.raises(UsageError, match="limit 4 is too small for the scrubbing task"):
        Scrubbing(scorer="letters", limit=4)
    with pytest.raises(ValidationError, match="max_new_tokens"):
        Scrubbing(scorer="letters", max_new_tokens=0)


def test_a_scorer_that_fails_fails_the_cell(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    task = Scrubbing(limit=12, max_new_tokens=2, scorer="letters", scorer_settings={"letter": "!"})
    with pytest.raises(BenchError, match="scorer 'letters' failed on"):
        task.evaluate(tiny_model, tiny_tokenizer, context=CONTEXT)


def test_damaged_data_is_refused_before_a_model_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "benign.jsonl"
    broken.write_bytes(bench.tasks.scrubbing.probes.SENTENCES.read_bytes()[:-40])
    monkeypatch.setattr(bench.tasks.scrubbing.task, "read_sentences", lambda: read_sentences(broken))
    with pytest.raises(BenchError, match="install the package again"):
        Scrubbing(scorer="letters").prepare(Silent())


def test_describing_the_task_imports_no_torch() -> None:
    assert TASKS["scrubbing"].needs_base
    code = (
        "import sys; from bench.tasks.scrubbing.task import Scrubbing\n"
        "Scrubbing(limit=24).identity()\n"
        "heavy = {'torch', 'transformers', 'lightning', 'datasets', 'scipy'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
