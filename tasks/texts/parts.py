"""Which of a source's items a task takes: the first, to evaluate on, or those after them, to choose settings by."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, TypeVar

from pydantic import NonNegativeInt

from bench.core.errors import BenchError
from bench.core.values import Value

T = TypeVar("T")
HASHES = "item_hashes"
"""Where a metric's details name its items."""


class PartSettings(Value):
    """Of a task whose source can be divided."""

    validation_after: NonNegativeInt | None = None
    """Makes this the part that settings are chosen by: the items after the first so many, which are the evaluation's.
    None for the evaluation."""

    def part_identity(self) -> dict[str, Any]:
        """Nothing for the evaluation, so that its cells are what they were."""
        return {} if self.validation_after is None else {"validation_after": self.validation_after}


def take_part(items: Sequence[T], part: PartSettings, limit: int | None, source: str) -> Sequence[T]:
    """The items that a task measures, in their order.

    Raises:
        BenchError: too few are left after the evaluation's.
    """
    after = part.validation_after
    if after is None:
        return items[:limit]
    taken = items[after:][:limit]
    if not taken or (limit is not None and len(taken) < limit):
        raise BenchError(
            f"{source} has {len(items)} items: the evaluation takes the first {after}, and of the {limit or 1} more to "
            f"choose settings by there are {len(taken)}; lower the task's limit, or validation's prompts and texts"
        )
    return taken


def item_hashes(texts: Sequence[str]) -> list[str]:
    """A short hash of each item, in order: what two measurements have in common can be found without the texts."""
    return [sha256(text.encode()).hexdigest()[:12] for text in texts]
