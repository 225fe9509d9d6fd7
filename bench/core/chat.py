"""Whether texts are put to a model as a chat: what is asked for, and what came of it."""

from __future__ import annotations

from typing import Any, Literal

from bench.core.values import Value


class ChatSettings(Value):
    """How a chat template is to be used."""

    apply: bool | Literal["auto"] = "auto"
    """auto: where the pairs are messages, which nothing else turns into text."""
    template: str | None = None
    """Which of the tokenizer's, where it has several; None for the one called `default`."""
    system_prompt: str | None = None
    """The system message of every chat that has none of its own."""


class ChatInfo(Value):
    """The chat template that was applied."""

    template: str | None = None
    """Its name, where the tokenizer has several."""
    sha256: str
    """Of the template, with the date that it is given."""
    system_prompt: str | None = None

    def identity(self) -> dict[str, Any]:
        """What texts depend on: the name says nothing that the template itself does not."""
        return self.model_dump(mode="json", exclude={"template"})
