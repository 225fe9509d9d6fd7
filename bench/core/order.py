"""A shuffle that is the same on every machine and with every library version."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def fair_order(names: Sequence[str]) -> list[int]:
    """Indices of `names`, ordered by the hash of each name.

    The first few are a fair sample of all, and a larger sample holds the smaller ones. Where a random generator's
    stream may change between versions, a hash does not.
    """
    return sorted(range(len(names)), key=lambda index: (hashlib.sha256(names[index].encode()).digest(), index))
