"""Sliding windows: a text longer than the model's context is scored in pieces."""

from collections.abc import Sequence
from dataclasses import dataclass

DIVERGED = 200.0
"""A mean loss, in nats a token, that reaches this, or is not a number, has no perplexity worth a name (e^200 and more).
"""


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


def cut_text(tokens: Sequence[int], size: int, stride: int) -> list[Window]:
    """Windows of one long text as the loop that Hugging Face's page on fixed-length models made common cuts them.

    Window i begins at token `i * stride`, and the last one may be short. Scored is what no window before has seen; yet
    a window's own first token never, having no context. So with `stride >= size` each window leaves one token out, and
    with `stride > size` also what lies between windows, which that loop does too.

    Arguments:
        tokens: of the whole text.
        size, stride: at least 1.

    Returns:
        Windows that count as documents of their own, in order; the last may have nothing to score.
    """
    windows: list[Window] = []
    seen = 0
    for begin in range(0, len(tokens), stride):
        end = min(begin + size, len(tokens))
        windows.append(Window(len(windows), tuple(tokens[begin:end]), max(1, seen - begin)))
        seen = end
        if end == len(tokens):
            break
    return windows


def cut_rolling(document: int, tokens: Sequence[int], prefix: int, size: int) -> list[Window]:
    """Windows that score every token exactly once with one token of context, as lm-eval's `loglikelihood_rolling`.

    A window holds up to `size + 1` tokens, the last of which is only predicted. The last window reaches back for as
    much context as fits.

    Arguments:
        tokens: of one document.
        prefix: precedes the first one.
        size: most tokens that the model reads at once, at least 1.
    """
    windows = [Window(document, (prefix, *tokens[:size]), 1)] if tokens else []
    for seen in range(size, len(tokens), size):
        end = min(seen + size, len(tokens))
        begin = end - size - 1
        windows.append(Window(document, tuple(tokens[begin:end]), seen - begin))
    return windows
