"""The perplexities that papers and other harnesses report, cut and weighted exactly as they do it."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

from bench.core.errors import BenchError
from bench.core.passes.footprint import context_window
from bench.tasks.outputs.windows import Window, cut_rolling, cut_text
from bench.tasks.perplexity.metric import Piece, Unit, WindowPlan

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bench.tasks.texts.prose import TextSource

Mode = Literal["documents", "profs2025", "lee2024", "lm-eval"]

LONGEST = 2048
"""Longest window of `profs2025` unless `max_window` says otherwise: GPT-2, GPT-J and OPT see no more, and the authors
of ARGRE (NeurIPS 2025), who repeated these measurements on models that do, stopped there too."""
LM_EVAL_LENGTH = 2048
"""What lm-eval takes where neither model nor tokenizer says how much the model can see."""
UNLIMITED = 10**20
"""Tokenizers without a maximum say 10^30."""


@dataclass(frozen=True, slots=True)
class ModelProtocol:
    """What a mode leaves open and what it fixes."""

    pers: tuple[Unit, ...]
    """Units it is defined in, the usual one first."""
    fixed: Mapping[str, Any]
    """Settings that may be left out or given as they are here; None: may not be given."""
    source: str | None = "wikipedia-boolq"
    """The text where none is named; None: it must be named."""


PROTOCOLS: Mapping[Mode, ModelProtocol] = {
    "documents": ModelProtocol(("token", "word", "byte", "bits-per-byte"), {"max_window": None}),
    "profs2025": ModelProtocol(("token",), {"bos": "tokenizer", "stride": 512, "max_length": None}, source=None),
    "lee2024": ModelProtocol(
        ("token",), {"bos": "tokenizer", "stride": 1024, "max_length": 1024, "max_window": None}, source="wikitext-2"
    ),
    "lm-eval": ModelProtocol(
        ("word", "byte", "bits-per-byte"), {"bos": "tokenizer", "stride": None, "max_length": None}
    ),
}


def conflict(mode: Mode, settings: Mapping[str, Any]) -> str | None:
    """What of the given settings a mode does not allow, and what to do; None where all agree.

    Arguments:
        settings: those given, None where one was left out.
    """
    protocol = PROTOCOLS[mode]
    per = settings["per"]
    if per is not None and per not in protocol.pers:
        return f"mode {mode} has no perplexity per {per}; known: {', '.join(protocol.pers)}"
    for name, fixed in protocol.fixed.items():
        if settings[name] not in (None, fixed):
            what = f"sets {name} {fixed} itself" if fixed is not None else f"takes no {name}"
            return f"mode {mode} {what}; found {name} {settings[name]}: leave it out, or choose another mode"
    if settings["max_window"] is not None and mode == "profs2025" and settings["max_window"] < 512:
        return f"max_window {settings['max_window']} is below the stride of mode profs2025, 512: text would go unread"
    if settings["source"] is None and protocol.source is None:
        return f"mode {mode} needs its text: set source to file:PATH of its wiki_samples.jsonl, or to any other source"
    return None


def profs2025(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    source: TextSource,
    *,
    max_window: int | None,
    limit: int | None,
) -> WindowPlan:
    """All texts that are not empty as one, windows of the model's maximum 512 tokens apart, every window alike.

    Reference: Uppaal et al. 2025 (arXiv 2405.13967), `perplexity` of their evaluation code, which averages the loss
    that transformers returns for each window: the mean over the tokens no window before has seen.
    """
    size, reported = _capped(context_window(model.config), max_window or LONGEST)
    texts = [text for text in source.rows() if text]
    return _one_text(tokenizer, texts, size, 512, limit, {"mode": "profs2025", **reported}, alike=True)


def lee2024(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: TextSource, *, limit: int | None
) -> WindowPlan:
    """All rows, empty ones too, as one text, windows of 1024 tokens side by side, weighted by their length.

    Reference: Lee et al. 2024 (arXiv 2401.01967), `run_perplexity` of their evaluation code, which multiplies the mean
    loss of the tokens after a window's first by all its tokens.
    """
    size, reported = _capped(1024, context_window(model.config))
    return _one_text(tokenizer, source.rows(), size, size, limit, {"mode": "lee2024", **reported}, alike=False)


def prefix_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that lm-eval puts before a document.

    Raises:
        BenchError: the tokenizer has none.
    """
    prefix = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    if prefix is None:
        raise BenchError("mode lm-eval needs a tokenizer with a beginning- or end-of-text token; this one has neither")
    return int(prefix)


def lm_eval_rolling(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    source: TextSource,
    *,
    max_window: int | None,
    limit: int | None,
) -> WindowPlan:
    """Each document on its own, windows side by side, each with one token of context, as lm-eval's rolling tasks.

    Before the first token stands the beginning-of-text token, else the end-of-text token. Words are what white space
    separates and an empty one at either end counts, too; bytes are UTF-8. A document without a token has no value here;
    lm-eval gives it a loss of 0. WikiText is scored with lm-eval's own
    detokenisation, and counted without, as lm-eval's task `wikitext` does.

    Raises:
        BenchError: the tokenizer has neither token.
    """
    size, reported = _capped(_lm_eval_length(model, tokenizer), max_window)
    prefix = prefix_token(tokenizer)
    all_documents = source.read() if source.is_wikitext() else source.rows()
    documents = scored = all_documents[:limit]
    if source.is_wikitext():
        from lm_eval.tasks.wikitext.preprocess_wikitext import wikitext_detokenizer

        scored = [str(wikitext_detokenizer({"page": document})) for document in documents]
    windows: list[Window] = []
    pieces = []
    for index, (document, text) in enumerate(zip(documents, scored, strict=True)):
        begins = text.startswith(str(tokenizer.decode(prefix)))  # then lm-eval leaves special tokens out
        tokens = tokenizer(text, add_special_tokens=not begins)["input_ids"]
        windows += cut_rolling(index, tokens, prefix, size)
        pieces.append(Piece(document, len(tokens), len(re.split(r"\s+", document)), len(document.encode())))
    return WindowPlan(
        pieces=pieces,
        windows=windows,
        details={
            "mode": "lm-eval",
            "window": size,
            **reported,
            "prefix": tokenizer.convert_ids_to_tokens(prefix),
            "documents": len(documents),
            "duplicates": duplicates(all_documents),
        },
    )


def duplicates(texts: Sequence[str]) -> int:
    """How many texts repeat an earlier one."""
    return len(texts) - len(set(texts))


def _capped(wanted: int | None, most: int | None) -> tuple[int, dict[str, Any]]:
    """The smaller of two window sizes, one of which may be unknown, and what was wanted where it was more."""
    size = min(length for length in (wanted, most) if length is not None)
    return size, {"capped_from": wanted} if wanted is not None and wanted > size else {}


def _lm_eval_length(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """As lm-eval finds it: the model's own word, else the tokenizer's."""
    config = model.config.get_text_config()
    said = (getattr(config, name, None) for name in ("n_positions", "max_position_embeddings", "n_ctx"))
    stated = next((length for length in said if length is not None), None)
    if stated is not None:
        return int(stated)
    return int(tokenizer.model_max_length) if tokenizer.model_max_length < UNLIMITED else LM_EVAL_LENGTH


def _one_text(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    size: int,
    stride: int,
    limit: int | None,
    details: Mapping[str, Any],
    *,
    alike: bool,
) -> WindowPlan:
    """Texts joined by blank lines, with the special tokens that the tokenizer adds of itself; windows are the items.

    Arguments:
        limit: windows to measure, from the beginning; None for all.
        alike: whether each window counts the same, else by its length.
    """
    text = "\n\n".join(texts)
    encoding = tokenizer(text, return_offsets_mapping=True)
    tokens = encoding["input_ids"]
    cut = cut_text(tokens, size, stride)[:limit]
    ends = list(accumulate((end for _, end in encoding["offset_mapping"]), max))  # special tokens end at 0
    starts = [match.start() for match in re.finditer(r"\S+", text)]
    pieces = []
    for index, window in enumerate(cut):
        first = index * stride + window.first
        begin, end = (ends[first - 1], ends[first - 1 + window.scored]) if window.scored else (0, 0)
        identifier = f"{window.first} {' '.join(map(str, window.tokens))}"
        words = bisect_left(starts, end) - bisect_left(starts, begin)
        pieces.append(Piece(identifier, window.scored, words, len(text[begin:end].encode())))
    return WindowPlan(
        pieces=pieces,
        windows=[window for window in cut if window.scored],
        details={
            **details,
            "window": size,
            "stride": stride,
            "bos": bool(tokens) and tokens[0] == tokenizer.bos_token_id,
            "items": "windows of one text, whose neighbours depend on each other",
            "windows": len(cut),
            "text_tokens": len(tokens),
            "duplicates": duplicates(texts),
        },
        weights=[1.0 if alike else float(len(window.tokens)) for window in cut],
    )
