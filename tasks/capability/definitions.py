"""What lm-eval's task definitions say, read without lm-eval: which tasks a name means, and what data they read."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from bench.core.errors import UsageError
from bench.core.store.cache import file_sha256
from bench.core.store.hub import dataset_commit

_DEFAULTS = yaml.safe_load(Path(__file__).with_name("default_tasks.yaml").read_text(encoding="utf-8"))

OFFICIAL: Mapping[str, str] = _DEFAULTS["definitions"]
"""The default tasks, and where lm-eval defines each, below its `tasks` folder: all of its thousands take seconds."""
PINNED: Mapping[str, str] = _DEFAULTS["commits"]
"""The hub data that the default tasks read, and at which commits."""

_READERS = frozenset({"arrow", "csv", "json", "pandas", "parquet", "text", "xml"})
"""What `dataset_path` says where the data are plain files."""


@dataclass(frozen=True)
class Definition:
    """A task, a group of tasks, or a tag that tasks bear."""

    config: Mapping[str, Any]
    """What the YAML says, its includes merged, its functions as text; nothing for a tag."""
    path: Path | None = None
    """The YAML file; None for a tag."""
    members: tuple[str, ...] | None = None
    """Names that a group or a tag stands for; None for a task."""


@cache
def official_definitions() -> Mapping[str, Definition]:
    """The default tasks, as the installed lm-eval defines them; lm-eval is read and not imported."""
    return {name: Definition(_read_yaml(official_path(name))[0]) for name in OFFICIAL}


def official_path(name: str) -> Path:
    """The file in which the installed lm-eval defines a default task."""
    spec = find_spec("lm_eval")
    assert spec is not None and spec.origin is not None  # a dependency
    return Path(spec.origin).parent / "tasks" / OFFICIAL[name]


def read_definitions(folder: Path) -> dict[str, Definition]:
    """Tasks, groups and tags of every .yaml file below a folder, by name, as lm-eval would find them.

    Raises:
        UsageError: there is no such folder, or a file in it is no YAML, includes what is not there, or names no task.
    """
    if not folder.is_dir():
        raise UsageError(f"include_path: {folder} is no folder; name the folder in which your task YAML files are")
    configs = {}
    for path in _files(folder.resolve(), "*.yaml"):
        config, _ = _read_yaml(path)
        if isinstance(config.get("group", config.get("task")), str):
            configs[path] = config
    if not configs:
        raise UsageError(f"include_path: {folder} holds no .yaml file with `task:` or `group:`")
    return index(configs)


def index(configs: Mapping[Path, Mapping[str, Any]]) -> dict[str, Definition]:
    """Definitions by name; of files that define the same name the first counts, as it does for lm-eval.

    Arguments:
        configs: what each YAML file says, includes merged.
    """
    definitions: dict[str, Definition] = {}
    tags: dict[str, list[str]] = {}
    for path, config in configs.items():
        if "group" in config and "class" not in config:
            definitions.setdefault(str(config["group"]), Definition(config, path, _members(config)))
        elif config["task"] not in definitions:
            definitions[config["task"]] = Definition(config, path)
            for tag in _listed(config.get("tag")):
                tags.setdefault(tag, []).append(config["task"])
    return {**{tag: Definition({}, members=tuple(sorted(names))) for tag, names in tags.items()}, **definitions}


def folder_sha256s(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder that says what its tasks are: YAML and Python, by relative path."""
    folder = folder.resolve()
    paths = set(_files(folder, "*.py")).union(*(_read_yaml(path)[1] for path in _files(folder, "*.yaml")))
    named = {path: path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name) for path in paths}
    return {name.as_posix(): file_sha256(path) for path, name in sorted(named.items())}


def unknown_names(names: Iterable[str], definitions: Mapping[str, Definition]) -> list[str]:
    """Names that no definition bears, among `names` and what they stand for."""
    return sorted({name for name in _reached(names, definitions) if name not in definitions})


def leaf_tasks(names: Sequence[str], definitions: Mapping[str, Definition]) -> dict[str, Definition]:
    """The tasks that names stand for, groups and tags resolved.

    Raises:
        UsageError: a name is unknown, or a task is asked for twice.
    """
    missing = unknown_names(names, definitions)
    if missing:
        if missing[0] not in names:
            raise UsageError(
                f"a group of lm-eval's names '{missing[0]}', which no file defines (a task that a group defines in "
                "place has no name of its own); ask for the group's other members by name"
            )
        near = difflib.get_close_matches(missing[0], definitions, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(sorted(definitions)[:20])}"
        raise UsageError(f"unknown lm-eval task '{missing[0]}'; {hint}")
    requested: dict[str, str] = {}
    for name in names:
        for reached in _reached([name], definitions):
            if definitions[reached].members is None:
                if requested.get(reached, name) != name:
                    raise UsageError(f"task '{reached}' is asked for twice: by '{requested[reached]}' and by '{name}'")
                requested[reached] = name
    return {name: definitions[name] for name in requested}


def data_identity(name: str, definition: Definition) -> dict[str, Any]:
    """Which documents a task reads: SHA-256 of files by split, or repository and commit on the hub.

    Raises:
        UsageError: its files are not there, or its definition does not say what it reads.
        BenchError: the commit of its hub data cannot be looked up.
    """
    path = definition.config.get("dataset_path")
    settings = dict(definition.config.get("dataset_kwargs") or {})
    if "class" in definition.config or "custom_dataset" in definition.config or not isinstance(path, str):
        raise UsageError(
            f"lm-eval's task '{name}' makes its documents in Python, so that no record could tell which they were; "
            "leave it out, or define it in YAML over files of yours (include_path)"
        )
    if path in _READERS:
        return {"files": {split: _hashes(name, files) for split, files in _data_files(name, settings).items()}}
    if Path(path).is_dir():
        return {"files": {"": _hashes(name, [f"{path}/**/*"])}}
    revision = settings.get("revision") or PINNED.get(path, "main")
    remedy = (
        f"go online once, or run `hf download --repo-type dataset {path}` where there is a network and copy its "
        "cache (HF_HOME) here"
    )
    return {"repository": path, "commit": dataset_commit(path, revision, remedy)}


def _data_files(name: str, settings: Mapping[str, Any]) -> dict[str, list[str]]:
    files = settings.get("data_files")
    if files is None and settings.get("data_dir"):
        files = f"{settings['data_dir']}/**/*"
    if files is None:
        raise UsageError(f"task '{name}' names no files; give them in its YAML under dataset_kwargs: data_files")
    splits = files if isinstance(files, Mapping) else {"train": files}
    return {str(split): _listed(paths) for split, paths in splits.items()}


def _hashes(name: str, patterns: Sequence[str]) -> list[str]:
    paths: list[Path] = []
    for pattern in patterns:
        if "://" in pattern:
            raise UsageError(
                f"task '{name}' reads {pattern}, which may change unseen; download it and name the file instead"
            )
        root = Path(Path(pattern).anchor)
        matches = sorted(path for path in root.glob(str(Path(pattern).relative_to(root))) if path.is_file())
        if not matches:
            raise UsageError(
                f"task '{name}' reads {pattern}, which is not there (seen from {Path.cwd()}, where this was started); "
                "correct data_files in its YAML"
            )
        empty = [str(path) for path in matches if path.stat().st_size == 0]
        if empty:
            raise UsageError(f"task '{name}' reads {empty[0]}, which is empty; it needs at least one document")
        paths += matches
    return [file_sha256(path) for path in paths]


def _reached(names: Iterable[str], definitions: Mapping[str, Definition]) -> Iterator[str]:
    """Each name and all that it stands for."""
    for name in names:
        yield name
        definition = definitions.get(name)
        if definition is not None:
            yield from _reached(definition.members or (), definitions)


def _members(config: Mapping[str, Any]) -> tuple[str, ...]:
    """A group's members by name; one defined in place, without a name of its own, is unknown by whatever it says."""
    items = config.get("task") or []
    items = items if isinstance(items, list) else [items]
    return tuple(str(item.get("group", item.get("task"))) if isinstance(item, Mapping) else str(item) for item in items)


def _files(folder: Path, pattern: str) -> list[Path]:
    ignored = {"__pycache__", ".ipynb_checkpoints"}
    return sorted(path for path in folder.rglob(pattern) if not ignored.intersection(path.parts))


def _listed(value: Any) -> list[str]:
    return [] if value is None else [str(item) for item in (value if isinstance(value, list) else [value])]


class _Loader(yaml.SafeLoader):
    """YAML as lm-eval writes it; a function is not looked up, only named."""


_Loader.add_constructor("!function", lambda loader, node: str(node.value))


def _read_yaml(path: Path, above: tuple[Path, ...] = ()) -> tuple[dict[str, Any], set[Path]]:
    """What one file says with what it includes, its own keys winning, and all files that were read.

    Arguments:
        above: the files that include it.
    """
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # a SafeLoader: makes plain values only
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            f"lm-eval cannot read {path}: {' '.join(str(error).split())}; mend it, or move it out of include_path"
        ) from error
    merged: dict[str, Any] = {}
    files = {path}
    if isinstance(config, dict):
        for name in _listed(config.pop("include", None)):
            included = (path.parent / name).resolve()
            if not included.is_file() or included in (*above, path):
                fault = "itself" if included.is_file() else "not there"
                raise UsageError(f"{path} includes {included}, which is {fault}")
            values, read = _read_yaml(included, (*above, path))
            merged |= values
            files |= read
        merged |= config
    return merged, files
