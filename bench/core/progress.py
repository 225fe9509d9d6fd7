"""How long work tells what it is doing, without knowing who shows it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[float], None]


class Progress(Protocol):
    """Something that shows steps of work. The terminal's is in `bench.display.live`; `Silent` shows nothing."""

    def track(self, description: str, total: float | None) -> AbstractContextManager[Advance]:
        """Show a step of `total` units (None: unknown); call what it yields with the units done since."""
        ...

    def note(self, message: str) -> None:
        """Show one line that stays."""
        ...


class Silent:
    """Shows nothing."""

    @contextmanager
    def track(self, description: str, total: float | None) -> Iterator[Advance]:
        yield lambda units: None

    def note(self, message: str) -> None:
        pass


class Notes(Silent):
    """Shows nothing and remembers the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)
