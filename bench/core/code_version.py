"""A hash of the code that a number came from: any change to a statement is a new version, a change of place is none."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path

OURS = frozenset({"bench"})
FOR_PEOPLE = frozenset({"display_name", "references"})
"""Fields of a class that people read and that change no number."""


@cache
def code_version(module: str) -> str:
    """Hash of a module's code and, transitively, of the modules of this suite and of its own package it imports.

    What counts is the set of top-level statements. Which file a statement stands in, import lines, comments,
    docstrings, strings that name a module and what a class is called for people do not, so that code can be arranged
    and described anew without making finished cells look old.

    Arguments:
        module: dotted name; it is read, not imported.
    """
    roots = OURS | {module.partition(".")[0]}
    clean = _WithoutPlaces(roots)
    trees = [clean.visit(ast.parse(_source(name) or "")) for name in _closure(module, roots)]
    statements = {text for tree in trees for text in map(ast.unparse, tree.body) if text}
    return hashlib.sha256("\n".join(sorted(statements)).encode()).hexdigest()[:16]


def _closure(module: str, roots: frozenset[str]) -> set[str]:
    seen: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name not in seen and _source(name) is not None:
            seen.add(name)
            pending += _imports(name, roots)
    return seen


def _imports(module: str, roots: frozenset[str]) -> Iterator[str]:
    """Every module below `roots` that one imports, and names that may be modules."""
    source = _source(module)
    for node in ast.walk(ast.parse(source or "")):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] in roots)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, module)
            if origin.partition(".")[0] not in roots:
                continue
            homes = _lazy_names(origin)
            names = [alias.name for alias in node.names]
            if not homes.keys() >= set(names):
                yield origin
            yield from (f"{origin}.{homes.get(name, name)}" for name in names)


@cache
def _lazy_names(package: str) -> dict[str, str]:
    """Name to the module below `package` that defines it, where its `__init__` loads names when they are used.

    Who imports one name from such a package depends on that name's module, and not on all that the package can load.
    """
    for node in ast.walk(ast.parse(_source(package) or "")):
        if isinstance(node, ast.keyword) and node.arg == "submod_attrs":
            return {name: home for home, names in ast.literal_eval(node.value).items() for name in names}
    return {}


def _origin(node: ast.ImportFrom, module: str) -> str:
    """The absolute name of what `from … import` imports from, seen from `module`, which may be a package."""
    if node.level == 0:
        return node.module or ""
    path = _path(module)
    package = module if path is not None and path.name == "__init__.py" else module.rpartition(".")[0]
    return resolve_name("." * node.level + (node.module or ""), package)


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


class _WithoutPlaces(ast.NodeTransformer):
    """Takes out of a syntax tree what says where code is and not what it does: imports, docstrings, module names."""

    def __init__(self, roots: frozenset[str]) -> None:
        self._roots = roots

    def visit_Import(self, node: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None

    def visit_If(self, node: ast.If) -> ast.AST | None:
        """A block that holds nothing but imports, such as those for type checkers, goes with them."""
        self.generic_visit(node)
        return node if node.body or node.orelse else None

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """A class without the fields that are for people."""
        node.body = [statement for statement in node.body if FOR_PEOPLE.isdisjoint(_assigned(statement))]
        return self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> ast.AST | None:
        """A package's list of lazily loaded names says where they are."""
        return None if node.arg == "submod_attrs" else self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """A string such as "package.module:Name" becomes "Name"."""
        if isinstance(node.value, str):
            name, _, attribute = node.value.partition(":")
            root, _, rest = name.partition(".")
            if rest and root in self._roots and name.replace(".", "").isidentifier() and _path(name) is not None:
                return ast.Constant(attribute)
        return node


def _assigned(statement: ast.stmt) -> set[str]:
    """The plain names that a statement gives values to."""
    targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}
