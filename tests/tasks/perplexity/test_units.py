"""Units, and what holds in every mode: pairing on the board, batch sizes, broken models, settings that conflict."""

import copy
import json
import math
import random

import pytest
import torch

from bench.core.progress import Silent
from bench.leaderboard.board.scores import metric_score
from bench.tasks.base import EvaluationContext
from bench.tasks.outputs.windows import Window
from bench.tasks.perplexity.metric import Piece, WindowPlan, perplexity
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


LM_EVAL_NAMES = {"word": "word_perplexity", "byte": "byte_perplexity", "bits-per-byte": "bits_per_byte"}


def jsonl(path, texts, key="prompt"):
    path.write_text("".join(json.dumps({key: text}) + "\n" for text in texts), encoding="utf-8")
    return f"file:{path}"


def evaluate(task, model, tokenizer, batch_size=3):
    task.prepare(Silent())
    return task.evaluate(model, tokenizer, context=EvaluationContext(batch_size=batch_size)).metric


def letters(count):
    """Made-up prose in which every character is a token."""
    return "".join(["a", *random.Random(0).choices("abcdefg  .", k=count - 1)])


@pytest.fixture
def beginning_tokenizer(tiny_tokenizer):
    """Adds a beginning-of-text token of itself, as Llama's does."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|start|> $A", special_tokens=[("<|start|>", 1)]
    )
    return tokenizer


def test_what_each_weighting_makes_of_the_same_losses():
    """Three windows of 4, 4 and 2 tokens, of which 3, 4 and 1 are scored, with 3, 8 and 4 nats."""
    windows = [Window(0, (1, 2, 3, 4), 1), Window(1, (4, 5, 6, 7), 0), Window(2, (7, 8), 1)]
    pieces = [Piece(str(index), tokens, words=2, bytes=4) for index, tokens in enumerate((3, 4, 1))]
    losses = [3.0, 8.0, 4.0]

    def found(weights, per="token"):
        return perplexity(WindowPlan(pieces, windows, {}, weights), losses, per).value

    assert found(None) == pytest.approx(math.exp(15 / 8))
    assert found([1, 1, 1]) == pytest.approx(math.exp((1 + 2 + 4) / 3))
    assert found([4, 4, 2]) == pytest.approx(math.exp((1 * 4 + 2 * 4 + 4 * 2) / 10))
    assert found(None, "word") == pytest.approx(math.exp(15 / 6))
    assert found(None, "byte") == pytest.approx(math.exp(15 / 12))
    assert found(None, "bits-per-byte") == pytest.approx(15 / 12 / math.log(2))


@pytest.mark.parametrize("per", UNITS)
@pytest.mark.parametrize("bos", ["always", "never"])
def test_units_are_known_of_a_model_that_knows_nothing(make_model, tiny_tokenizer, tmp_path, per, bos):
    model = make_model("gpt2")
    torch.nn.init.zeros_(model.get_input_embeddings().weight)
    source = jsonl(tmp_path / "d.jsonl", SENTENCES)
    metric = evaluate(Perplexity(per=per, bos=bos, source=source), model, tiny_tokenizer)
    bits = math.log2(len(tiny_tokenizer))
    scored = [text if bos == "always" else text[1:] for text in SENTENCES]
    tokens, words = sum(len(text.encode()) for text in scored), sum(len(text.split()) for text in scored)
    expected = {"token": 2**bits, "word": 2 ** (bits * tokens / words), "byte": 2**bits, "bits-per-byte": bits}
    assert metric.value == pytest.approx(expected[per], rel=1e-5)
    assert metric.unit == UNITS[per]
    key = {**LM_EVAL_NAMES, "token": "token_perplexity"}[per]
    assert metric.details[key] == pytest.approx(metric.value, rel=1e-6)


MODES = [
    *({"mode": "documents", "per": per} for per in UNITS),
    {"mode": "profs2025"},
    {"mode": "lee2024"},
    *({"mode": "lm-eval", "per": per} for per in LM_EVAL_NAMES),
]


@pytest.mark.parametrize("settings", MODES, ids=lambda settings: "-".join(settings.values()))
def test_the_board_pairs_two_methods_in_every_mode_and_unit(make_model, tiny_tokenizer, tmp_path, settings):
    task = Perplexity(source=jsonl(tmp_path / "d.jsonl", [*SENTENCES, letters(1500)]), **settings)
    base, other = (evaluate(task, make_model("gpt2", seed=seed, n_positions=600), tiny_tokenizer) for seed in (0, 1))
    assert base.value != other.value
    found = metric_score({0: other}, base)
    assert (found.unpaired, found.value) == (None, other.value)
    exponential = settings.get("per") != "bits-per-byte"
    expected = other.value / base.value - 1 if exponential else other.value - base.value
    assert found.change.value == pytest.approx(expected, rel=1e-6)
    assert found.change.ci95[0] < expected < found.change.ci95[1]
    assert metric_score({0: base}, base).change.ci95 == (0, 0)


def test_models_of_other_tokenizers_are_not_paired_by_windows(
    make_model, tiny_tokenizer, beginning_tokenizer, tmp_path
):
    task = Perplexity(mode="lee2024", source=jsonl(tmp_path / "d.jsonl", [letters(2100)]))
    model = make_model("gpt2", n_positions=1024)
    base, other = (evaluate(task, model, tokenizer) for tokenizer in (tiny_tokenizer, beginning_tokenizer))
    assert other.details["bos"] and not base.details["bos"]
    assert metric_score({0: other}, base).unpaired == "measured on different items"


@pytest.mark.parametrize("settings", MODES[3:], ids=lambda settings: "-".join(settings.values()))
def test_batch_size_changes_nothing(make_model, tiny_tokenizer, tmp_path, settings):
    task = Perplexity(source=jsonl(tmp_path / "d.jsonl", [*SENTENCES, letters(1500)]), **settings)
    model = make_model("llama", max_position_embeddings=600)
    alone, together = (evaluate(task, model, tiny_tokenizer, batch_size) for batch_size in (1, 64))
    assert alone.items.values == pytest.approx(together.items.values, rel=1e-6)


@pytest.mark.parametrize("mode", ["profs2025", "lee2024", "lm-eval"])
def test_one_broken_window_leaves_no_value(make_model, tiny_tokenizer, tmp_path, mode):
    model = make_model("gpt2", n_positions=600)
    with torch.no_grad():  # the letter Z, and nothing else
        model.transformer.wte.weight[tiny_tokenizer("Z")["input_ids"][0]] = math.nan
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    source = jsonl(tmp_path / "d.jsonl", [f"Z{letters(1500)}", "A short one."])
    metric = evaluate(Perplexity(mode=mode, source=source), model, tiny_tokenizer)
    assert (metric.value, metric.ci95) == (None, None)
    assert metric.counts == {"diverged": 1}
    assert metric.items.values[0] is None
    assert metric.n == len(metric.items.values) - 1 >= 1
    assert not model._forward_pre_hooks


@pytest.mark.parametrize("mode", ["documents", "profs2025", "lee2024"])
def test_a_text_of_one_token_has_no_value(make_model, tiny_tokenizer, tmp_path, mode):
    (tmp_path / "one.txt").write_text("a")
    metric = evaluate(Perplexity(mode=mode, source=f"file:{tmp_path / 'one.txt'}"), make_model("gpt2"), tiny_tokenizer)
    assert (metric.value, metric.n, metric.counts) == (None, 0, {"too_short": 1})


def test_a_text_without_spaces_has_no_perplexity_per_word(make_model, tiny_tokenizer, tmp_path):
    source = jsonl(tmp_path / "d.jsonl", ["日本語の文" * 10, "また別の文章" * 10])
    metric = evaluate(Perplexity(per="word", source=source), make_model("gpt2"), tiny_tokenizer)
    assert (metric.value, metric.counts, metric.n) == (None, {"unspaced": 2}, 2)
    assert metric.details["word_perplexity"] is None
    assert evaluate(Perplexity(per="byte", source=source), make_model("gpt2"), tiny_tokenizer).value > 1


def test_a_document_without_a_scored_word_is_counted(make_model, tiny_tokenizer, tmp_path):
    source = jsonl(tmp_path / "d.jsonl", ["a ", "Two words here.", "And some others."])
    metric = evaluate(Perplexity(per="word", source=source), make_model("gpt2"), tiny_tokenizer)
    assert metric.counts == {"without_words": 1}
    assert metric.n == 2
    assert metric.details["word_perplexity"] == pytest.approx(metric.value)


def test_a_character_scored_in_part_counts(make_model, tiny_tokenizer, tmp_path):
    metric = evaluate(
        Perplexity(per="byte", source=jsonl(tmp_path / "d.jsonl", ["日", "本"])), make_model("gpt2"), tiny_tokenizer
    )
    assert (metric.details["tokens"], metric.details["bytes"]) == (4, 6)


def test_duplicates_are_said(make_model, tiny_tokenizer, tmp_path):
    source = jsonl(tmp_path / "d.jsonl", [*SENTENCES, SENTENCES[0], SENTENCES[0]])
    model = make_model("gpt2")
    counted = {
        mode: evaluate(Perplexity(mode=mode, source=source), model, tiny_tokenizer).details
        for mode in ("documents", "profs2025", "lee2024", "lm-eval")
    }
    assert {mode: details["duplicates"] for mode, details in counted.items()} == dict.fromkeys(counted, 2)
    assert (counted["documents"]["documents"], counted["lm-eval"]["documents"]) == (3, 5)  # lm-eval keeps them


def test_a_limit_is_of_the_first_windows(make_model, tiny_tokenizer, tmp_path):
    source = jsonl(tmp_path / "d.jsonl", [letters(3000)])
    model = make_model("gpt2", n_positions=600)
    whole, few = (
        evaluate(Perplexity(mode="profs2025", source=source, limit=limit), model, tiny_tokenizer) for limit in (None, 3)
    )
    assert few.n == 3
    assert few.items.values == pytest.approx(whole.items.values[:3], rel=1e-6)
    assert few.items.ids_sha256 != whole.items.ids_sha256


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "profs2025", "stride": 256}, "mode profs2025 sets stride 512 itself; found stride 256"),
        ({"mode": "profs2025", "max_length": 1024}, "mode profs2025 takes no max_length; found max_length 1024"),
        ({"mode": "profs2025", "bos": "never"}, "mode profs2025 sets bos tokenizer itself; found bos never"),
        ({"mode": "profs2025", "per": "word"}, "mode profs2025 has no perplexity per word; known: token"),
        ({"mode": "profs2025", "max_window": 256}, "max_window 256 is below the stride of mode profs2025"),
        ({"mode": "lee2024", "max_length": 512}, "mode lee2024 sets max_length 1024 itself"),
        ({"mode": "lee2024", "max_window": 512}, "mode lee2024 takes no max_window"),
        ({"mode": "lm-eval", "per": "token"}, "mode lm-eval has no perplexity per token; known: word, byte"),
        ({"mode": "lm-eval", "stride": 10}, "mode lm-eval takes no stride"),
        ({"max_window": 100}, "mode documents takes no max_window"),
        ({"mode": "profs2024"}, "unknown mode 'profs2024'; did you mean 'profs2025'"),
        ({"per": "words"}, "unknown unit 'words'; did you mean 'word'"),
        ({"max_length": 100, "stride": 100}, "stride 100 must be below max_length 100"),
    ],
)
def test_settings_that_conflict_are_one_clear_error(settings, message):
    with pytest.raises(ValueError, match=message) as found:
        Perplexity(**{"source": "wikipedia-boolq", **settings})
    assert len(found.value.errors()) == 1


def test_profs2025_needs_its_text_named():
    with pytest.raises(ValueError, match=r"set source to file:PATH of its wiki_samples\.jsonl"):
        Perplexity(mode="profs2025")


def test_settings_that_say_what_the_mode_does_are_allowed():
    stated = Perplexity(mode="lee2024", stride=1024, max_length=1024, per="token", source="wikitext-2")
    assert stated.identity()["text"] == Perplexity(mode="lee2024").identity()["text"]


def test_identity_carries_mode_unit_and_what_was_left_out():
    left_out = Perplexity().identity()
    assert left_out == Perplexity(max_length=512, stride=256, per="token", source="wikipedia-boolq").identity()
    assert (left_out["mode"], left_out["per"]) == ("documents", "token")
    others = [Perplexity(mode="lm-eval"), Perplexity(per="byte"), Perplexity(mode="lm-eval", max_window=64)]
    identities = [json.dumps(dict(task.identity()), sort_keys=True) for task in (Perplexity(), *others)]
    assert len(set(identities)) == 4
