"""What is to be written, how, and what was: the values of text generation. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, PositiveInt, model_validator

from bench.core.values import Value


class GenerationSettings(Value):
    """How text is written. Nothing is inherited from the model's own generation defaults but which tokens end it."""

    max_new_tokens: PositiveInt = 20
    samples: PositiveInt = 1
    """Continuations a prompt; more than one needs a temperature."""
    temperature: float = Field(default=0.0, ge=0)
    """0 takes the likeliest token each time."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Sample from the smallest set of tokens that holds this much probability."""

    @model_validator(mode="after")
    def _samples_differ(self) -> GenerationSettings:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(f"{self.samples} samples at temperature 0 are all alike; set a temperature above 0")
        return self


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a model wrote after a prompt."""

    prompt_id: str
    sample: int
    text: str
    """Without the prompt and special tokens; its leading space is its own, a character cut in half is left out."""
    n_tokens: int
    """Tokens written, the closing end-of-text not counted."""
    ended: bool
    """Whether the model ended the text itself."""
    tokens: Sequence[int] = field(default=(), compare=False)
    """As they were written, the closing end-of-text last where there is one; empty where only the text was kept."""

    def to_row(self, prompt: Mapping[str, Any], text: str, score: float | None) -> dict[str, Any]:
        """What was written and how it was judged, as a plain row.

        Arguments:
            prompt: what the row says of the prompt.
            text: what the scorer saw.
        """
        return {
            "prompt_id": self.prompt_id,
            **prompt,
            "sample": self.sample,
            "continuation": text,
            "score": score,
            "n_tokens": self.n_tokens,
            "ended": self.ended,
        }


@dataclass(frozen=True, slots=True)
class GeneratedRow:
    """One continuation to be written."""

    index: int
    prompt_id: str
    sample: int
    tokens: list[int]
    """The prompt, with the special tokens that the tokenizer adds of itself."""
