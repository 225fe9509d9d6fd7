"""Names for things that plug in: ours by a table, other distributions' by entry points, anyone's by a decorator."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from bench.core.errors import UsageError
from bench.core.suggestions import suggestion

T = TypeVar("T")


def unknown(kind: str, name: str, available: Iterable[str]) -> UsageError:
    """The error for a name nobody registered: what was asked, what is near, what there is."""
    names = sorted(set(available))
    close = suggestion(kind, name, names)
    hint = ";" if close is None else f"; did you mean '{close}'?" if close in names else f"; use {close};"
    return UsageError(f"unknown {kind} '{name}'{hint} known: {', '.join(names)}")


class Registry(Generic[T]):
    """Maps names to classes of one kind, importing a class only when it is asked for.

    Arguments:
        kind: what the names name, for messages: "method", "task", "scorer".
        builtin: name to "module:attribute".
        group: entry-point group in which other distributions announce theirs.
    """

    def __init__(self, kind: str, builtin: Mapping[str, str], group: str) -> None:
        self.kind = kind
        self.group = group
        self._paths = dict(builtin)
        self._loaded: dict[str, type[T]] = {}
        self._searched = False

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator: make a class known by `name`. A name taken by another class is an error."""

        def add(cls: type[T]) -> type[T]:
            path = f"{cls.__module__}:{cls.__qualname__}"
            if self._paths.get(name, path) != path:
                raise ValueError(f"{self.kind} '{name}' is registered already, by {self._paths[name]}")
            self._paths[name] = path
            self._loaded[name] = cls
            return cls

        return add

    @contextmanager
    def temporarily(self, name: str, cls: type[T]) -> Iterator[type[T]]:
        """Makes a class known by `name`, in another's place if need be, for the length of a block."""
        path, loaded = self._all_paths.pop(name, None), self._loaded.pop(name, None)
        try:
            yield self.register(name)(cls)
        finally:
            del self._paths[name], self._loaded[name]
            if path is not None:
                self._paths[name] = path
            if loaded is not None:
                self._loaded[name] = loaded

    def __getitem__(self, name: str) -> type[T]:
        """The class named `name`.

        Raises:
            UsageError: nobody registered it.
        """
        if name not in self._loaded:
            if name not in self._all_paths:
                raise unknown(self.kind, name, self._all_paths)
            module, _, attribute = self._all_paths[name].partition(":")
            self._loaded[name] = getattr(import_module(module), attribute)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._all_paths))

    def __contains__(self, name: object) -> bool:
        return name in self._all_paths

    def __len__(self) -> int:
        return len(self._all_paths)

    @property
    def _all_paths(self) -> dict[str, str]:
        """Name to "module:attribute", entry points included, which are searched when they are first needed."""
        if not self._searched:
            self._searched = True
            for point in entry_points(group=self.group):
                self._paths.setdefault(point.name, point.value)
        return self._paths
