from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertForSequenceClassification, GPT2Config, GPT2ForSequenceClassification

from bench.core.errors import BenchError, UsageError
from bench.core.progress import Silent
from bench.tasks.scorers import sequence_classifier
from bench.tasks.scorers.base import build_scorer
from bench.tasks.scorers.hub_classifier import HubClassifier, parse
from bench.tasks.scorers.scoring import check_scored, score_texts

VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "you", "are", "kind", "vile", "so")
Make = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("own_caches")


def scorer(folder: Path, label: str = "toxic", **settings: Any) -> HubClassifier:
    built = build_scorer(f"hf:{folder}#{label}", settings)
    assert isinstance(built, HubClassifier)
    return built


def logits(folder: Path, words: str) -> torch.Tensor:
    tokens = torch.tensor([[2, *(VOCABULARY.index(word) for word in words.split()), 3]])
    with torch.no_grad():
        return torch.as_tensor(BertForSequenceClassification.from_pretrained(folder).eval()(tokens).logits[0])


def test_two_labels_exclude_one_another(make_classifier: Make) -> None:
    folder = make_classifier()
    texts = ["you are kind", "", "You are so vile", " \n ", "so so so so vile"]
    judge = scorer(folder)
    judge.prepare(Silent())
    expected = [torch.softmax(logits(folder, text.lower()), 0)[1].item() if text.strip() else None for text in texts]
    assert judge.score(texts) == [None if value is None else pytest.approx(value, abs=1e-6) for value in expected]
    by_number = scorer(folder, "1").score(texts)
    assert by_number == judge.score(texts)
    other = scorer(folder, "fine").score(["vile"])
    assert other == [pytest.approx(1 - float(judge.score(["vile"])[0] or 0), abs=1e-6)]


@pytest.mark.parametrize(
    ("labels", "problem", "wanted", "used"),
    [
        (["toxic"], None, "auto", "sigmoid"),
        (["a", "toxic"], None, "auto", "softmax"),
        (["a", "toxic"], "multi_label_classification", "auto", "sigmoid"),
        (["a", "toxic"], None, "sigmoid", "sigmoid"),
        (["a", "toxic", "c"], "single_label_classification", "auto", "softmax"),
        (["a", "toxic", "c"], "multi_label_classification", "auto", "sigmoid"),
        (["a", "toxic", "c"], "multi_label_classification", "softmax", "softmax"),
        (["toxic"], "regression", "sigmoid", "sigmoid"),
    ],
)
def test_outputs_become_probabilities(
    make_classifier: Make, labels: Sequence[str], problem: str | None, wanted: str, used: str
) -> None:
    folder = make_classifier(labels, problem_type=problem)
    outputs = logits(folder, "you are vile")
    normalised = torch.sigmoid(outputs) if used == "sigmoid" else torch.softmax(outputs, 0)
    expected = normalised[list(labels).index("toxic")].item()
    assert scorer(folder, activation=wanted).score(["you are vile"]) == [pytest.approx(expected, abs=1e-6)]


@pytest.mark.parametrize(
    ("labels", "problem", "wanted", "message"),
    [
        (["a", "toxic", "c"], None, "auto", r"does not say \(problem_type\) whether its 3 labels exclude"),
        (["toxic"], "regression", "auto", "is a regression"),
        (["toxic"], None, "softmax", "one label, of which softmax always makes 1"),
    ],
)
def test_outputs_that_are_no_probabilities_are_refused(
    make_classifier: Make, labels: Sequence[str], problem: str | None, wanted: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        scorer(make_classifier(labels, problem_type=problem), activation=wanted).prepare(Silent())


def test_the_vile_window_of_a_long_text_decides(make_classifier: Make) -> None:
    folder = make_classifier()
    words = ("so " * 30 + "vile").split()
    windows = {" ".join(words[start : start + 10]) for start in range(0, len(words) - 5, 5)}
    scores = [torch.softmax(logits(folder, window), 0)[1].item() for window in windows]
    assert scorer(folder).score([" ".join(words)]) == [pytest.approx(max(scores), abs=1e-6)]
    assert max(scores) - min(scores) > 1e-4


def test_scores_do_not_depend_on_the_batch(make_classifier: Make) -> None:
    folder = make_classifier()
    random = torch.Generator().manual_seed(0)
    texts = [
        " ".join(VOCABULARY[4 + int(word)] for word in torch.randint(5, (1 + index % 23,), generator=random))
        for index in range(60)
    ]
    judge = scorer(folder)
    alone = [judge.score([text])[0] for text in texts]
    assert judge.score(texts) == pytest.approx(alone, abs=1e-6)
    assert judge.score(texts[::-1])[::-1] == pytest.approx(alone, abs=1e-6)
    assert score_texts(judge, texts, batch=7).scores == pytest.approx(alone, abs=1e-6)


def test_a_text_of_which_the_tokenizer_keeps_nothing_is_not_judged(make_classifier: Make) -> None:
    judge = scorer(make_classifier())
    assert judge.score(["\x00\x01", "vile"])[0] is None
    assert score_texts(judge, ["\x00\x01", "vile"]).abstained == (0,)


def test_a_decoder_without_padding_is_read_a_text_at_a_time(
    tmp_path: Path, save_word_tokenizer: Callable[[Path], None]
) -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16, "initializer_range": 1.0}
    config = GPT2Config(
        vocab_size=len(VOCABULARY), id2label={0: "fine", 1: "toxic"}, bos_token_id=2, eos_token_id=3, **sizes
    )
    model = GPT2ForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path / "decoder")
    save_word_tokenizer(tmp_path / "decoder")
    tokens = torch.tensor([[2, 4, 5, 7, 3]])
    with torch.no_grad():
        expected = torch.softmax(model(tokens).logits[0], 0)[1].item()
    found = scorer(tmp_path / "decoder").score(["you are vile", "so so so so so kind"])
    assert found[0] == pytest.approx(expected, abs=1e-6)


def test_batches_shrink_where_memory_does_not_suffice(make_classifier: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = scorer(make_classifier())
    texts = ["you are vile"] * 9 + ["kind"]
    whole = judge.score(texts)
    forward = sequence_classifier.SequenceClassifier._forward
    sizes: list[int] = []

    def small(self: Any, rows: Sequence[list[int]], *arguments: Any) -> list[float]:
        sizes.append(len(rows))
        if len(rows) > fitting:
            raise torch.OutOfMemoryError("no more")
        return forward(self, rows, *arguments)

    fitting = 4
    classifier = sequence_classifier.load_classifier(parse(judge.locator).folder or Path())
    monkeypatch.setattr(sequence_classifier.SequenceClassifier, "_forward", small)
    assert classifier.score(texts, 1, "softmax") == pytest.approx(whole, abs=1e-6)
    assert max(sizes) == 10
    sizes.clear()
    classifier.score(texts, 1, "softmax")
    assert max(sizes) <= fitting  # what was learnt is kept
    fitting = 0
    with pytest.raises(BenchError, match="out of memory with a single text at the scorer"):
        classifier.score(texts, 1, "softmax")


def test_a_classifier_that_gives_nan_has_no_score(make_classifier: Make) -> None:
    folder = make_classifier()
    model = BertForSequenceClassification.from_pretrained(folder)
    model.bert.embeddings.word_embeddings.weight.data[VOCABULARY.index("vile")] = math.nan
    model.save_pretrained(folder)
    judge = scorer(folder)
    texts = ["you are kind", "vile", "so " * 30 + "vile"]  # also where a single window failed
    scored = score_texts(judge, texts)
    assert scored.unscored == (1, 2)
    assert scored.scores[0] is not None
    with pytest.raises(BenchError, match=rf"'hf:{folder}#toxic' failed on 2 of 3 texts"):
        check_scored(scored, texts)
