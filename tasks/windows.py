"""Sliding windows: a document longer than the model's context is scored in overlapping pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of one document that the model sees at once."""

    document: int
    """Index of the document."""
    tokens: tuple[int, ...]
    first: int
    """Index in `tokens` of the first one scored; those before are context. At least 1."""

    @property
    def scored(self) -> int:
        """How many tokens are scored."""
        return len(self.tokens) - self.first


def cut_windows(document: int, tokens: Sequence[int], size: int, stride: int) -> list[Window]:
    """Windows that score every token but the first exactly once.

    Windows end `stride` tokens apart and begin `size` tokens before their end, the last one too; so each token but
    those of the first window has at least `size - stride` tokens of context.

    Arguments:
        tokens: of one document, a beginning-of-text token included if there is one.
        size: tokens a window, at least 2.
        stride: tokens by which windows move on, 1 <= stride < size.

    Returns:
        No windows where fewer than two tokens leave nothing to score.
    """
    windows = []
    scored, end = 1, min(size, len(tokens))
    while scored < end:
        begin = max(0, end - size)
        windows.append(Window(document, tuple(tokens[begin:end]), scored - begin))
        scored, end = end, min(end + stride, len(tokens))
    return windows
