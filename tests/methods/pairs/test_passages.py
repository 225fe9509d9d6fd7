"""What of a text a model reads, and which of it counts."""

from __future__ import annotations

import copy

import pytest
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from bench.core.errors import BenchError
from bench.core.values import PreferencePair
from bench.methods.pairs.passages import Passage, read_passages

PAIRS = [PreferencePair("ab", " c", " def"), PreferencePair("x", "y", "z")]


def ids(tokenizer: PreTrainedTokenizerFast, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text)["input_ids"])


def test_prompt_and_completion_are_one_string(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    texts = read_passages(tiny_tokenizer, PAIRS, "mean", 128)
    assert texts.chosen == (Passage(ids(tiny_tokenizer, "ab c"), 0, 4), Passage(ids(tiny_tokenizer, "xy"), 0, 2))
    assert texts.rejected[0] == Passage(ids(tiny_tokenizer, "ab def"), 0, 6)
    assert texts.n_identical == 0


@pytest.mark.parametrize(
    ("pooling", "chosen", "rejected"),
    [
        ("mean", [(0, 4), (0, 2)], [(0, 6), (0, 2)]),
        ("completion", [(2, 4), (1, 2)], [(2, 6), (1, 2)]),
        ("last", [(3, 4), (1, 2)], [(5, 6), (1, 2)]),
        ("all-positions", [(0, 4), (0, 4)], [(0, 6), (0, 6)]),
    ],
)
def test_positions_that_count(
    pooling: str,
    chosen: list[tuple[int, int]],
    rejected: list[tuple[int, int]],
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    texts = read_passages(tiny_tokenizer, PAIRS, pooling, 128)
    assert [(passage.start, passage.stop) for passage in texts.chosen] == chosen
    assert [(passage.start, passage.stop) for passage in texts.rejected] == rejected


def with_start_token(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    copied = copy.deepcopy(tokenizer)
    copied.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|start|> $A", special_tokens=[("<|start|>", 1)]
    )
    return copied


def test_special_tokens_are_the_tokenizers_own(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer = with_start_token(tiny_tokenizer)
    texts = read_passages(tokenizer, PAIRS, "completion", 4)
    assert texts.chosen[0] == Passage((1, *ids(tiny_tokenizer, "ab ")), 3, 4)
    with pytest.raises(BenchError, match="pair 0: its chosen text has no tokens"):
        read_passages(tokenizer, [PreferencePair("", "", "a")], "mean", 4)


def test_text_without_tokens_is_refused(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(BenchError, match="pair 1: its rejected text has no tokens"):
        read_passages(tiny_tokenizer, [PAIRS[0], PreferencePair("", "a", "")], "mean", 128)


def test_a_pair_is_named_by_the_line_that_it_was_read_from(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(BenchError, match="pair my.jsonl:7: its rejected text has no tokens"):
        read_passages(tiny_tokenizer, [PAIRS[0], PreferencePair("", "a", "", origin="my.jsonl:7")], "mean", 128)


def test_completion_cut_away_is_refused(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    pairs = [PreferencePair("a long prompt", " c", " d")]
    with pytest.raises(BenchError, match=r"pair 0: none of its chosen completion is within the first 5 tokens"):
        read_passages(tiny_tokenizer, pairs, "completion", 5)


def test_texts_equal_after_the_cut_are_identical(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    assert read_passages(tiny_tokenizer, PAIRS, "mean", 3).n_identical == 1


@pytest.mark.parametrize("truncated", [False, True])
def test_tokenizer_is_left_as_it_was(truncated: bool, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer)
    backend = tokenizer.backend_tokenizer
    if truncated:
        backend.enable_truncation(max_length=77)
        backend.enable_padding(length=9)
    before = backend.to_str()
    read_passages(tokenizer, PAIRS, "mean", 3)
    assert backend.to_str() == before
