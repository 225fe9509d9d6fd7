"""A hash of the code that a number came from: comments and docstrings aside, any change to it is a new version."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

OURS = frozenset({"bench", "methods", "tasks", "leaderboard"})


@cache
def code_version(module: str) -> str:
    """Hash of a module's code and, transitively, of the modules of this suite and of its own package it imports.

    Arguments:
        module: dotted name; it is read, not imported.
    """
    roots = OURS | {module.partition(".")[0]}
    digest = hashlib.sha256()
    for name in sorted(_closure(module, roots)):
        digest.update(f"{name}\n{_code(name)}\n".encode())
    return digest.hexdigest()[:16]


def _closure(module: str, roots: frozenset[str]) -> set[str]:
    seen: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name not in seen and _source(name) is not None:
            seen.add(name)
            pending += [found for found in _imports(name) if found.partition(".")[0] in roots]
    return seen


def _imports(module: str) -> Iterator[str]:
    source = _source(module)
    for node in ast.walk(ast.parse(source or "")):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, module)
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def _origin(node: ast.ImportFrom, module: str) -> str:
    """The absolute name of what `from … import` imports from, seen from `module`, which may be a package."""
    if node.level == 0:
        return node.module or ""
    path = _path(module)
    parts = module.split(".") if path is not None and path.name == "__init__.py" else module.split(".")[:-1]
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


@cache
def _source(module: str) -> str | None:
    """A module's text; None where the name is no module with a source file."""
    path = _path(module)
    return None if path is None else path.read_text(encoding="utf-8")


def _path(module: str) -> Path | None:
    """A module's file, found without importing it."""
    root, *parts = module.split(".")
    try:
        spec = find_spec(root)
    except ValueError:  # a module without a spec, such as __main__
        return None
    if spec is None:
        return None
    if not parts:
        return Path(str(spec.origin)) if (spec.origin or "").endswith(".py") else None
    for folder in spec.submodule_search_locations or []:
        stem = Path(folder, *parts)
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                return path
    return None


def _code(module: str) -> str:
    """A module's syntax tree without docstrings, as text."""
    tree = ast.parse(_source(module) or "")
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [item for item in body if not _is_bare_string(item)]
    return ast.unparse(tree)


def _is_bare_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
