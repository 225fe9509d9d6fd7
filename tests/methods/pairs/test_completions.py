"""Where a completion starts, what is cut off, and which special tokens are in."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from bench.core.errors import UsageError
from bench.core.values import PreferencePair
from bench.methods.pairs.completions import PairTokens, tokenize_pairs

END, START = 0, 1
PAIR = PreferencePair(prompt="xy", chosen=" ba", rejected=" c")


def letters_tokenizer(template: str = "$A", **special: str) -> PreTrainedTokenizerFast:
    """One token a letter but for `ab`, with special tokens put around a text as `template` says."""
    vocabulary = {token: index for index, token in enumerate(["<end>", "<start>", *"Ġabcxy", "ab"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<end>", END), ("<start>", START)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **({"eos_token": "<end>"} | special))


def one(pair: PreferencePair, template: str = "$A", max_length: int = 16, append_eos: bool = False) -> PairTokens:
    tokenizer = letters_tokenizer(template)
    return tokenize_pairs([pair], tokenizer, max_length=max_length, append_eos=append_eos)[0]


def test_completions_start_where_the_prompt_ends() -> None:
    tokens = one(PAIR)
    assert tokens.chosen.prompt == tokens.rejected.prompt == (6, 7)
    assert tokens.chosen.answer == (2, 4, 3)
    assert tokens.rejected.answer == (2, 5)
    assert not tokens.merged
    assert not tokens.truncated


def test_a_token_across_the_boundary_belongs_to_the_completion_on_both_sides() -> None:
    tokens = one(PreferencePair(prompt="xa", chosen="bc", rejected="cc"))
    assert tokens.chosen.prompt == tokens.rejected.prompt == (6,)
    assert tokens.chosen.answer == (8, 5)
    assert tokens.rejected.answer == (3, 5, 5)
    assert tokens.merged


@pytest.mark.parametrize("template", ["$A", "<start> $A", "$A <end>", "<start> $A <end>", "<end> $A"])
@pytest.mark.parametrize("append_eos", [False, True])
def test_special_tokens_come_once_and_an_end_only_if_asked_for(template: str, append_eos: bool) -> None:
    tokens = one(PAIR, template, append_eos=append_eos)
    opening = {"<start> $A": (START,), "<start> $A <end>": (START,), "<end> $A": (END,)}.get(template, ())
    closing = (END,) if append_eos else ()
    assert tokens.chosen.prompt == tokens.rejected.prompt == (*opening, 6, 7)
    assert tokens.chosen.answer == (2, 4, 3, *closing)
    assert tokens.rejected.answer == (2, 5, *closing)


@pytest.mark.parametrize("append_eos", [False, True])
def test_an_end_written_in_the_text_is_kept_and_not_doubled(append_eos: bool) -> None:
    tokens = one(PreferencePair(prompt="x", chosen="a<end>", rejected="c"), append_eos=append_eos)
    assert tokens.chosen.answer == (3, END)
    assert tokens.rejected.answer == ((5, END) if append_eos else (5,))


@pytest.mark.parametrize("append_eos", [False, True])
@pytest.mark.parametrize("template", ["$A", "<start> $A <end>"])
def test_a_flipped_pair_is_a_swapped_pair(template: str, append_eos: bool) -> None:
    pairs = [PAIR, PreferencePair(prompt="xa", chosen="bc", rejected="cc"), PreferencePair("", "abcabc", "cc")]
    tokenizer = letters_tokenizer(template)
    straight = tokenize_pairs(pairs, tokenizer, max_length=5, append_eos=append_eos)
    flipped = tokenize_pairs([pair.flipped() for pair in pairs], tokenizer, max_length=5, append_eos=append_eos)
    assert [(pair.rejected, pair.chosen, pair.truncated, pair.merged) for pair in flipped] == [
        (pair.chosen, pair.rejected, pair.truncated, pair.merged) for pair in straight
    ]


def test_truncation_keeps_the_start_and_is_told() -> None:
    tokens = one(PAIR, "<start> $A", max_length=5, append_eos=True)
    assert tokens.chosen.answer == (2, 4)
    assert tokens.rejected.answer == (2, 5)
    assert tokens.truncated
    assert not one(PAIR, max_length=5).truncated


def test_without_a_prompt_the_first_token_has_no_probability() -> None:
    tokens = one(PreferencePair(prompt="", chosen="xyx", rejected="yx"))
    assert (tokens.chosen.scored, tokens.rejected.scored) == (2, 1)
    assert one(PreferencePair(prompt="", chosen="xyx", rejected="yx"), "<start> $A").chosen.scored == 3


@pytest.mark.parametrize(
    ("pair", "max_length", "message"),
    [
        (PreferencePair("xyxyx", "a", "b"), 5, r"pair 1: its prompt has 5 tokens and fills max_length = 5"),
        (PreferencePair("xyxyx", "a", "b", origin="my.jsonl:7"), 5, r"pair my.jsonl:7: its prompt has 5 tokens"),
        (PreferencePair("x", "", "b", origin="my.jsonl:7"), 16, r"pair my.jsonl:7: its chosen completion has no token"),
        (PreferencePair("x", "", "b"), 16, r"pair 1: its chosen completion has no token"),
        (PreferencePair("x", "b", ""), 16, r"pair 1: its rejected completion has no token"),
        (PreferencePair("", "ca", "b"), 16, r"pair 1: its rejected completion has no token"),
    ],
)
def test_a_pair_with_nothing_to_learn_from_is_refused(pair: PreferencePair, max_length: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tokenize_pairs([PAIR, pair], letters_tokenizer(), max_length=max_length, append_eos=False)


def test_an_end_that_the_tokenizer_has_not_is_refused() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters_tokenizer()._tokenizer)
    with pytest.raises(UsageError, match="no end-of-text token"):
        tokenize_pairs([PAIR], tokenizer, max_length=16, append_eos=True)
    assert tokenize_pairs([PAIR], tokenizer, max_length=16, append_eos=False)[0].chosen.answer == (2, 4, 3)


def limited(template: str, prompt: int | None, completion: int | None, append_eos: bool = False) -> PairTokens:
    pair = PreferencePair(prompt="xyxyc", chosen=" bxa", rejected=" c")
    return tokenize_pairs(
        [pair],
        letters_tokenizer(template),
        max_length=16,
        append_eos=append_eos,
        max_prompt_length=prompt,
        max_completion_length=completion,
    )[0]


@pytest.mark.parametrize(
    ("template", "prompt", "kept"),
    [("$A", 2, (7, 5)), ("$A", 5, (6, 7, 6, 7, 5)), ("<start> $A", 3, (START, 7, 5)), ("<start> $A", 1, (START,))],
)
def test_a_prompt_keeps_its_end_and_the_token_that_opens_it(template: str, prompt: int, kept: tuple[int, ...]) -> None:
    tokens = limited(template, prompt, None)
    assert tokens.chosen.prompt == tokens.rejected.prompt == kept
    assert tokens.chosen.answer == limited(template, None, None).chosen.answer == (2, 4, 6, 3)
    assert tokens.truncated == (prompt != 5)


@pytest.mark.parametrize(("append_eos", "limit", "kept"), [(False, 3, (2, 4, 6)), (True, 4, (2, 4, 6, 3))])
def test_a_completion_keeps_its_start(append_eos: bool, limit: int, kept: tuple[int, ...]) -> None:
    tokens = limited("$A", None, limit, append_eos)
    assert tokens.chosen.answer == kept
    assert tokens.rejected.answer == ((2, 5, END) if append_eos else (2, 5))
    assert tokens.truncated
