"""Parity modes against the loops they reproduce, lm-eval itself, and windows cut by hand."""

import copy
import json
import math
import random

import pytest
import torch

from bench.core.progress import Silent
from bench.tasks.base import EvaluationContext
from bench.tasks.outputs.windows import cut_rolling, cut_text
from bench.tasks.perplexity.task import Perplexity

SENTENCES = [
    "The river rises in the hills and runs past two towns before it meets the sea.",
    "Räuber: “naïve” façades, ½ price – 日本語 text counts in bytes.",
    "A short one, with a line\nbreak and  two spaces.",
]
UNITS = {
    "token": "perplexity per token",
    "word": "perplexity per word",
    "byte": "perplexity per byte",
    "bits-per-byte": "bits per byte",
}


def jsonl(path, texts, key="prompt"):
    path.write_text("".join(json.dumps({key: text}) + "\n" for text in texts), encoding="utf-8")
    return f"file:{path}"


def evaluate(task, model, tokenizer, batch_size=3):
    task.prepare(Silent())
    return task.evaluate(model, tokenizer, context=EvaluationContext(batch_size=batch_size)).metric


def letters(count):
    """Made-up prose in which every character is a token."""
    return "".join(["a", *random.Random(0).choices("abcdefg  .", k=count - 1)])


def reference_loop(model, tokens, max_length, stride=512):
    """Each window's loss as transformers returns it for labels masked where an earlier window has scored them."""
    tokens = torch.tensor([tokens])
    losses, previous = [], 0
    for begin in range(0, tokens.size(1), stride):
        end = min(begin + max_length, tokens.size(1))
        labels = tokens[:, begin:end].clone()
        labels[:, : -(end - previous)] = -100
        with torch.no_grad():
            losses.append(model(tokens[:, begin:end], labels=labels).loss.double().item())
        previous = end
        if end == tokens.size(1):
            break
    return losses


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("length", [100, 512, 600, 601, 1111, 1112, 1113, 1700])
def test_profs2025_is_the_loop_of_the_reference_code(make_model, tiny_tokenizer, tmp_path, family, length):
    size = {"gpt2": "n_positions", "llama": "max_position_embeddings"}[family]
    model = make_model(family, **{size: 600})
    texts = [letters(length // 2), "", letters(length - length // 2 - 2)]
    metric = evaluate(Perplexity(mode="profs2025", source=jsonl(tmp_path / "w.jsonl", texts)), model, tiny_tokenizer)
    tokens = tiny_tokenizer("\n\n".join(text for text in texts if text))["input_ids"]
    assert len(tokens) == length
    expected = reference_loop(model, tokens, 600)
    assert metric.items.values == pytest.approx(expected, rel=1e-6)
    assert metric.value == pytest.approx(math.exp(sum(expected) / len(expected)), rel=1e-6)
    assert metric.items.weights is None
    assert (metric.details["window"], metric.details["stride"], metric.unit) == (600, 512, "perplexity per token")
    assert metric.details["tokens"] == length - 1


def test_profs2025_is_the_same_in_double_precision(make_model, tiny_tokenizer, tmp_path):
    model = make_model("llama", max_position_embeddings=600).double()
    text = letters(1200)
    metric = evaluate(Perplexity(mode="profs2025", source=jsonl(tmp_path / "w.jsonl", [text])), model, tiny_tokenizer)
    tokens = tiny_tokenizer(text)["input_ids"]
    means = []
    for begin, scored, end in ((0, 1, 600), (512, 600, 1112), (1024, 1112, 1200)):
        with torch.no_grad():
            logs = torch.log_softmax(model(torch.tensor([tokens[begin:end]])).logits[0], dim=-1)
        losses = [-logs[position - begin - 1, tokens[position]].item() for position in range(scored, end)]
        means.append(sum(losses) / len(losses))
    assert metric.value == pytest.approx(math.exp(sum(means) / 3), rel=1e-6)


def test_profs2025_with_windows_of_the_stride_leaves_out_what_has_no_context(make_model, tiny_tokenizer, tmp_path):
    """The reference gets NaN from a last window of one token; here it is left out and counted."""
    model = make_model("gpt2", n_positions=512)
    text = letters(1025)
    metric = evaluate(Perplexity(mode="profs2025", source=jsonl(tmp_path / "w.jsonl", [text])), model, tiny_tokenizer)
    expected = reference_loop(model, tiny_tokenizer(text)["input_ids"], 512)
    assert math.isnan(expected[-1])
    assert metric.items.values[:2] == pytest.approx(expected[:2], rel=1e-6)
    assert metric.items.values[2] is None
    assert metric.counts == {"too_short": 1}
    assert metric.value == pytest.approx(math.exp(sum(expected[:2]) / 2), rel=1e-6)


def test_profs2025_on_a_model_that_sees_less_than_the_stride_skips_what_the_loop_skips(
    make_model, tiny_tokenizer, tmp_path
):
    model = make_model("gpt2", n_positions=256)
    text = letters(1400)
    metric = evaluate(Perplexity(mode="profs2025", source=jsonl(tmp_path / "w.jsonl", [text])), model, tiny_tokenizer)
    expected = reference_loop(model, tiny_tokenizer(text)["input_ids"], 256)
    assert metric.value == pytest.approx(math.exp(sum(expected) / len(expected)), rel=1e-6)
    assert (metric.details["tokens"], metric.details["text_tokens"]) == (3 * 255, 1400)


def test_profs2025_windows_are_capped_and_that_is_said(make_model, tiny_tokenizer, tmp_path):
    model = make_model("llama", max_position_embeddings=32768)
    source = jsonl(tmp_path / "w.jsonl", [letters(2100)])
    metric = evaluate(Perplexity(mode="profs2025", source=source), model, tiny_tokenizer)
    assert (metric.details["window"], metric.details["capped_from"]) == (2048, 32768)
    smaller = evaluate(Perplexity(mode="profs2025", source=source, max_window=1024), model, tiny_tokenizer)
    expected = reference_loop(model, tiny_tokenizer(letters(2100))["input_ids"], 1024)
    assert smaller.value == pytest.approx(math.exp(sum(expected) / len(expected)), rel=1e-6)
    assert (
        "capped_from"
        not in evaluate(
            Perplexity(mode="profs2025", source=source, max_window=1024),
            make_model("gpt2", n_positions=1024),
            tiny_tokenizer,
        ).details
    )


@pytest.mark.parametrize("length", [2, 1023, 1024, 1026, 2048, 2500])
def test_lee2024_is_the_loop_of_their_code(make_model, tiny_tokenizer, tmp_path, length):
    model = make_model("gpt2", n_positions=1024)
    text = letters(length)
    metric = evaluate(Perplexity(mode="lee2024", source=jsonl(tmp_path / "w.jsonl", [text])), model, tiny_tokenizer)
    tokens = torch.tensor([tiny_tokenizer(text)["input_ids"]])
    total = 0.0
    for begin in range(0, length, 1024):
        part = tokens[:, begin : begin + 1024]
        with torch.no_grad():
            total += model(part, labels=part).loss.double().item() * part.size(1)
    assert metric.value == pytest.approx(math.exp(total / length), rel=1e-6)
    assert (metric.details["window"], metric.details["stride"]) == (1024, 1024)
    weights = metric.items.weights or (1024.0,) * metric.n
    assert sum(weights) == (length if metric.items.weights else 1024 * metric.n)


def test_lee2024_joins_rows_as_the_hub_gives_them(make_model, tiny_tokenizer, tmp_path):
    path = tmp_path / "wiki.test.raw"
    path.write_bytes(b" \r\n = First = \r\n \r\n Text . \r\n = = Part = = \r\n More . \r\n = Second = \r\n End . \r\n")
    rows = ["", " = First = \n", "", " Text . \n", " = = Part = = \n", " More . \n", " = Second = \n", " End . \n"]
    model = make_model("gpt2")
    metric = evaluate(Perplexity(mode="lee2024", source=f"file:{path}"), model, tiny_tokenizer)
    tokens = tiny_tokenizer("\n\n".join(rows), return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = model(tokens, labels=tokens).loss.exp().item()
    assert metric.value == pytest.approx(expected, rel=1e-6)
    assert metric.details["text_tokens"] == tokens.size(1)
    assert (metric.details["window"], metric.details["capped_from"]) == (256, 1024)
    articles = evaluate(Perplexity(source=f"file:{path}"), model, tiny_tokenizer)
    assert articles.details["documents"] == 2


@pytest.fixture
def beginning_tokenizer(tiny_tokenizer):
    """Adds a beginning-of-text token of itself, as Llama's does."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|start|> $A", special_tokens=[("<|start|>", 1)]
    )
    return tokenizer


def lm_evals(model, tokenizer, task):
    """What lm-eval's own model, task and aggregation make of a task."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    found = lm_eval.simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=copy.deepcopy(tokenizer), batch_size=1),
        tasks=[task],
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
        log_samples=False,
    )
    (results,) = found["results"].values()
    return {unit: results[f"{name},none"] for unit, name in LM_EVAL_NAMES.items()}


LM_EVAL_NAMES = {"word": "word_perplexity", "byte": "byte_perplexity", "bits-per-byte": "bits_per_byte"}


@pytest.mark.parametrize("length", [1, 2, 255, 256, 257, 258, 512, 513, 900])
@pytest.mark.parametrize("begins", [False, True])
def test_lm_eval_log_likelihoods_are_its_own(make_model, tiny_tokenizer, beginning_tokenizer, tmp_path, length, begins):
    """Windows of all lengths, on models whose positions end with the window."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    tokenizer = beginning_tokenizer if begins else tiny_tokenizer
    model = make_model("gpt2")
    texts = [letters(length), "<|start|>said already", "日", " \n "]
    metric = evaluate(Perplexity(mode="lm-eval", source=jsonl(tmp_path / "d.jsonl", texts)), model, tokenizer)
    theirs = HFLM(pretrained=model, tokenizer=copy.deepcopy(tokenizer), batch_size=1)
    requests = [Instance("loglikelihood_rolling", {}, (text,), index) for index, text in enumerate(texts)]
    found = theirs.loglikelihood_rolling(requests, disable_tqdm=True)
    ours = [-value * weight for value, weight in zip(metric.items.values, metric.items.weights, strict=True)]
    assert ours == pytest.approx(found, rel=1e-6)
    assert metric.unit == "perplexity per word"


def test_lm_eval_numbers_are_those_of_its_own_evaluation(make_model, tiny_tokenizer, tmp_path):
    texts = [*SENTENCES, " spaces at both ends ", letters(700)]
    source = jsonl(tmp_path / "documents.jsonl", texts, "text")
    model = make_model("llama")
    task = {
        "task": "local_rolling",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "documents.jsonl")}},
        "test_split": "test",
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": name} for name in LM_EVAL_NAMES.values()],
    }
    for unit, expected in lm_evals(model, tiny_tokenizer, task).items():
        metric = evaluate(Perplexity(mode="lm-eval", per=unit, source=source), model, tiny_tokenizer)
        assert metric.value == pytest.approx(expected, rel=1e-6)
        assert metric.unit == UNITS[unit]
        assert metric.details[LM_EVAL_NAMES[unit]] == pytest.approx(expected, rel=1e-6)


def test_lm_eval_scores_wikitext_detokenised_and_counts_it_as_it_is(make_model, tiny_tokenizer, tmp_path):
    from lm_eval.tasks.wikitext.preprocess_wikitext import wikitext_detokenizer

    path = tmp_path / "wiki.test.raw"
    path.write_text(" = Title = \n \n It , said he @-@ once , is so . \n")
    model = make_model("gpt2")
    metric = evaluate(Perplexity(mode="lm-eval", source=f"file:{path}"), model, tiny_tokenizer)
    page = " = Title = \n It , said he @-@ once , is so . \n"
    scored = wikitext_detokenizer({"page": page})
    assert " ," not in scored
    assert metric.details["tokens"] == len(scored)
    assert metric.details["bytes"] == len(page)
    assert metric.details["words"] == len(page.split()) + 2  # lm-eval counts the empty words at both ends


def test_lm_eval_finds_the_model_s_length_as_lm_eval_does(make_model, tiny_tokenizer):
    from lm_eval.models.utils import resolve_max_length

    from bench.tasks.perplexity.modes import _lm_eval_length

    class Silence:
        text_config = None

        def get_text_config(self):
            return self

    for model in (make_model("gpt2"), make_model("llama", max_position_embeddings=77)):
        assert _lm_eval_length(model, tiny_tokenizer) == resolve_max_length(model.config, tiny_tokenizer)
    model = make_model("gpt2")
    model.config = Silence()
    limited = copy.deepcopy(tiny_tokenizer)
    limited.model_max_length = 99
    for tokenizer in (tiny_tokenizer, limited):
        assert _lm_eval_length(model, tokenizer) == resolve_max_length(model.config, tokenizer)


@pytest.mark.parametrize(
    ("length", "size", "stride", "expected"),
    [
        (0, 4, 2, []),
        (1, 4, 2, [("0", 1)]),
        (4, 4, 2, [("0123", 1)]),
        (6, 4, 2, [("0123", 1), ("2345", 2)]),
        (7, 4, 2, [("0123", 1), ("2345", 2), ("456", 2)]),
        (8, 4, 4, [("0123", 1), ("4567", 1)]),
        (9, 4, 4, [("0123", 1), ("4567", 1), ("8", 1)]),
        (9, 2, 4, [("01", 1), ("45", 1), ("8", 1)]),
    ],
)
def test_windows_of_one_text(length, size, stride, expected):
    windows = cut_text(range(length), size, stride)
    assert [("".join(map(str, window.tokens)), window.first) for window in windows] == expected
    assert [window.document for window in windows] == list(range(len(windows)))


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, []),
        (1, [("#0", 1)]),
        (4, [("#0123", 1)]),
        (5, [("#0123", 1), ("01234", 4)]),
        (7, [("#0123", 1), ("23456", 2)]),
        (8, [("#0123", 1), ("34567", 1)]),
        (9, [("#0123", 1), ("34567", 1), ("45678", 4)]),
    ],
)
def test_rolling_windows(length, expected):
    windows = cut_rolling(3, list(map(str, range(length))), "#", 4)
    assert [("".join(window.tokens), window.first) for window in windows] == expected
    assert all(window.document == 3 for window in windows)
