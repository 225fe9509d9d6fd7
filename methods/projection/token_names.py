"""Tokens as strings that a person can tell apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPACE = "␣"
UNDECODABLE = "\N{REPLACEMENT CHARACTER}"


def token_names(tokenizer: PreTrainedTokenizerBase, tokens: Iterable[int]) -> dict[int, str]:
    r"""Each token's text inside a sentence, with spaces as `␣` and unprintable characters as `\n` or `\u200b`.

    A token that is no text by itself, such as a part of a character, is named as the tokenizer's vocabulary has it.
    The tokenizer is only read.
    """
    anchors = tokenizer.encode("a", add_special_tokens=False)

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    before = decode(anchors)
    named = {}
    for token in tokens:
        # Some tokenizers drop the space that a text begins with, so the token must not come first.
        whole = decode([*anchors, token])
        text = whole.removeprefix(before)
        told = whole.startswith(before) and text and UNDECODABLE not in text
        named[token] = readable_token(text if told else str(tokenizer.convert_ids_to_tokens(token)))
    return named


def readable_token(text: str) -> str:
    r"""`text` with every space as `␣` and every other unprintable character as Python escapes it."""
    return "".join(SPACE if c == " " else c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
