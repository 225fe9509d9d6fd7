"""Noise that changes pairs' texts: unrelated rejected texts, and near-copies that crowd out distinct pairs."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace as replaced

from bench.core.errors import UsageError
from bench.core.values import PreferencePair
from bench.tasks.preferences.noise.corruption import Corruption, at_most, drawn_order, draws, first

Edit = Callable[[str], str]


def replace(pairs: Sequence[PreferencePair], rate: float, seed: int) -> Corruption:
    """The rejected text of `round(rate * n)` pairs becomes another pair's chosen text: clean, and off the prompt.

    All pairs stand on a ring in the order of a hash. A pair gets the chosen text of the next one on the ring that has
    another prompt and neither of its own texts, whatever the rate: the model is nested in what it puts in, too, and
    hardly any text is used twice. A corrupted pair has no margin, as nobody scored it.

    Raises:
        UsageError: a pair to be corrupted finds no such other pair.
    """
    order = drawn_order(draws("replace", pairs, seed))
    position_of = {index: position for position, index in enumerate(order)}
    indices = first(order, rate)
    noisy = list(pairs)
    for index in indices:
        ring = order[position_of[index] + 1 :] + order[: position_of[index]]
        donor = next((pairs[other] for other in ring if _is_unrelated(pairs[index], pairs[other])), None)
        if donor is None:
            raise UsageError(
                "noise model 'replace' needs another pair's chosen text, of another prompt and unlike a pair's own "
                f"texts, and among these {len(pairs)} pairs one has none; give pairs of more prompts"
            )
        noisy[index] = replaced(pairs[index], rejected=donor.chosen, margin=None)
    return Corruption(tuple(noisy), indices)


def duplicate(pairs: Sequence[PreferencePair], rate: float, seed: int) -> Corruption:
    """`round(rate * n)` pairs make way for near-copies of pairs that are kept: no label is wrong, but less is said.

    A near-copy has the prompt and the margin of its original, and both completions with a small edit of case, spacing
    or final punctuation. Which kept pair is copied is drawn by hash until one is met that is kept: a copy's original
    changes with the rate only where that original makes way itself.

    Raises:
        UsageError: no pair would be kept.
    """
    wanted = round(rate * len(pairs))
    at_most("duplicate", wanted, max(len(pairs) - 1, 0), len(pairs), "one at least must be kept to be copied")
    by_pair = draws("duplicate", pairs, seed)
    order = drawn_order(by_pair)
    noisy = list(pairs)
    for index in order[:wanted]:
        source, attempt = 0, 0
        while source < wanted:
            digest = hashlib.sha256(by_pair[index] + attempt.to_bytes(8, "big")).digest()
            source, attempt = int.from_bytes(digest[:8], "big") % len(pairs), attempt + 1
        noisy[index] = near_copy(pairs[order[source]], by_pair[index])
    return Corruption(tuple(noisy), first(order, rate))


def near_copy(pair: PreferencePair, draw: bytes) -> PreferencePair:
    """The pair with another case, spacing or final punctuation in both completions, chosen by the draw's bytes."""
    words = [text.removesuffix(pair.closing) for text in (pair.chosen, pair.rejected)]
    for turn in range(len(EDITS)):
        chosen, rejected = (_edited(text, draw[byte] + turn) for byte, text in enumerate(words))
        if chosen.strip() != rejected.strip():
            return replaced(pair, chosen=chosen + pair.closing, rejected=rejected + pair.closing)
    raise UsageError(f"no near-copy keeps the completions of the pair with prompt {pair.prompt!r} apart")


def _double_last_gap(text: str) -> str:
    head, gap, tail = text.rstrip().rpartition(" ")
    return f"{head}  {tail}" if gap and head.strip() else text


def _swap_first_letter(text: str) -> str:
    for index, character in enumerate(text):
        if character.isalpha():
            return text[:index] + character.swapcase() + text[index + 1 :]
    return text


EDITS: tuple[Edit, ...] = (
    lambda text: f"{text.rstrip()}!",
    lambda text: f"{text.rstrip()}.",
    lambda text: text.rstrip().rstrip(".!?"),
    str.upper,
    str.lower,
    _swap_first_letter,
    _double_last_gap,
)
"""None of them changes a word or the space before the first; some leave some texts as they are."""


def _edited(text: str, start: int) -> str:
    """The text after the first edit from `start` on that changes it and leaves words; the first one always can."""
    tried = (EDITS[(start + step) % len(EDITS)](text) for step in range(len(EDITS)))
    return next(edited for edited in tried if edited != text and edited.strip())


def _is_unrelated(pair: PreferencePair, other: PreferencePair) -> bool:
    """Whether `other` answers another prompt, with a text that is none of the pair's own. No prompts are no match."""
    own = {pair.chosen.strip(), pair.rejected.strip()}
    return (pair.prompt != other.prompt or not pair.prompt) and other.chosen.strip() not in own
