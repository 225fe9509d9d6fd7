"""A classifier in transformers' layout, before it is loaded: its files, and what the small ones say of it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from bench.core.errors import UsageError
from bench.core.files import file_fault, read_text
from bench.core.progress import Progress
from bench.core.registry import unknown
from bench.core.store.hub import HubCheckpoint, cached_folder, download, file_sizes
from bench.core.store.weight_files import LocalCheckpoint, lacking_weights, weight_files

Activation = Literal["sigmoid", "softmax"]
SMALL = frozenset({".json", ".txt", ".model"})
"""Endings of files of configuration and vocabulary."""
VOCABULARIES = frozenset({"tokenizer.json", "vocab.txt", "vocab.json"})
HEAD = "ForSequenceClassification"
OTHERWISE = "name a local folder: hf:FOLDER#LABEL"
"""What helps where a classifier cannot be had from the hub."""


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds no sequence classifier, or one that would run code of its own.

    Raises:
        UsageError: it lacks configuration or vocabulary, asks for its own code, or is another kind of model.
    """
    refuse_code(folder)
    architectures = read_classifier_config(folder).get("architectures") or []
    if not any(name.endswith(HEAD) for name in architectures):
        raise UsageError(
            f"{folder} is no sequence classifier: its config.json names "
            f"{', '.join(architectures) or 'no architecture'} where one that ends in {HEAD} is needed"
        )
    check_vocabulary(folder)


def refuse_code(folder: Path) -> None:
    """Refuse a folder whose configuration or tokenizer names Python code of its own.

    Raises:
        UsageError: it does; none of it has been run.
    """
    for name in ("config.json", "tokenizer_config.json"):
        if (folder / name).is_file() and "auto_map" in _read_json(folder / name):
            raise UsageError(
                f"{folder} asks in {name} (auto_map) for Python code of its own, which is never run; take a "
                "classifier of an architecture that transformers itself has"
            )


def check_vocabulary(folder: Path) -> None:
    """Refuse a folder without a tokenizer.

    Raises:
        UsageError: it lacks every file that a vocabulary is kept in.
    """
    if not any(path.name in VOCABULARIES or path.suffix == ".model" for path in folder.iterdir()):
        raise UsageError(f"{folder} has no tokenizer: none of {', '.join(sorted(VOCABULARIES))}, *.model")


def read_classifier_config(folder: Path) -> dict[str, Any]:
    """The configuration of the classifier in `folder`.

    Raises:
        UsageError: there is none, or it is no JSON object.
    """
    path = folder / "config.json"
    if not os.path.lexists(path):
        raise UsageError(f"{folder} has no config.json")
    config = _read_json(path)
    if not isinstance(config, dict):
        raise UsageError(f"{path} is no configuration: an object is needed, a {type(config).__name__} was found")
    return config


def label_names(config: Mapping[str, Any]) -> dict[str, int]:
    """Columns of a classifier's output by name; transformers' own names where its configuration gives none."""
    named = config.get("id2label")
    if named:
        return {str(name): int(index) for index, name in named.items()}
    return {f"LABEL_{index}": index for index in range(int(config.get("num_labels", 2)))}


def column_of(folder: Path, label: str) -> int:
    """The column of the output that `label` names for the classifier in `folder`: a name, or else a column's number.

    Raises:
        UsageError: it is neither, or the folder has no configuration.
    """
    names = label_names(read_classifier_config(folder))
    if label in names:
        return names[label]
    if label.isdecimal() and int(label) in names.values():
        return int(label)
    raise unknown("label of the classifier", label, names)


def activation_of(folder: Path, wanted: Literal["auto", "sigmoid", "softmax"]) -> Activation:
    """How outputs become probabilities: labels that exclude one another by softmax, others by sigmoid.

    Arguments:
        wanted: "auto" takes what config.json says (`problem_type`); where it says nothing, two labels exclude one
            another and a single one stands alone.

    Raises:
        UsageError: the configuration does not say, or what is wanted makes no sense.
    """
    config = read_classifier_config(folder)
    labels, problem = len(label_names(config)), config.get("problem_type")
    if labels == 1 and wanted == "softmax":
        raise UsageError(f"{folder} has one label, of which softmax always makes 1; use activation sigmoid")
    if wanted != "auto":
        return wanted
    if problem == "regression":
        raise UsageError(
            f"{folder} is a regression: its output is no probability. If a sigmoid makes it one, set activation sigmoid"
        )
    if labels == 1 or problem == "multi_label_classification":
        return "sigmoid"
    if labels == 2 or problem == "single_label_classification":
        return "softmax"
    raise UsageError(
        f"config.json of {folder} does not say (problem_type) whether its {labels} labels exclude one another; "
        "set activation softmax if they do, sigmoid if a text can have several"
    )


def weight_paths(folder: Path) -> list[Path]:
    """The files that hold the weights, safetensors before PyTorch's own; empty where they are not all there.

    Raises:
        UsageError: an index is no index, or names a file outside the folder.
    """
    return [folder / name for name in weight_files(LocalCheckpoint(folder)) if not name.endswith(".index.json")]


def small_files(folder: Path) -> list[Path]:
    """Configuration and vocabulary: all that a score depends on beside the weights."""
    return [path for path in sorted(folder.iterdir()) if path.suffix in SMALL and path.name != "manifest.json"]


def cached_snapshot(repository: str, commit: str) -> Path | None:
    """The folder of a commit in the hub's cache; None where it lacks configuration or weights."""
    folder = cached_folder(repository, commit)
    paths = weight_paths(folder) if folder is not None else []
    return folder if paths and not any(map(file_fault, paths)) else None


def snapshot(repository: str, commit: str, progress: Progress) -> Path:
    """The folder of a commit with all that a classifier needs, downloaded where it is not cached.

    Configuration and vocabulary come first, and are checked, so that no weights are downloaded in vain.

    Raises:
        UsageError: it is no sequence classifier, asks for code of its own, or has no weights.
        BenchError: it is neither cached nor can be downloaded.
    """
    folder = cached_snapshot(repository, commit)
    if folder is not None:
        check_folder(folder)
        return folder
    sizes = file_sizes(repository, commit, OTHERWISE)
    small = {name: size for name, size in sizes.items() if "/" not in name and Path(name).suffix in SMALL}
    folder = download(repository, commit, small, progress, OTHERWISE)
    check_folder(folder)
    checkpoint = HubCheckpoint(repository, commit, sizes)
    weights = weight_files(checkpoint)
    if not weights:
        raise UsageError(f"hub:{repository} lacks {lacking_weights(checkpoint)}; take another classifier")
    return download(repository, commit, {name: sizes[name] for name in weights}, progress, OTHERWISE)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise UsageError(f"{path} is no JSON: {error}") from error
