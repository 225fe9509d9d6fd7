"""Under which terms a model came, so that what is made of it is passed on under the same."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.models.catalogue import ModelEntry

UNKNOWN = "unknown"
OTHER = "other"
CARD = "README.md"
_TEXTS = re.compile(r"(\w+_)?(licen[sc]e|notice|use_policy|copying|terms)(\.\w+)?", re.IGNORECASE)

LICENCES: Mapping[str, Mapping[str, str]] = yaml.safe_load(
    Path(__file__).with_name("licences.yaml").read_text(encoding="utf-8")
)
"""By the hub's identifier: `link`, where the terms stand, and `notice`, the sentence that they want beside a copy."""


@dataclass(frozen=True)
class Licence:
    """The terms of a model, as far as they are known."""

    identifier: str
    """The hub's name for it, e.g. "apache-2.0"; "other" or "unknown" where it has none."""
    name: str | None = None
    """What it calls itself, where the hub has no name for it."""
    link: str | None = None
    """Where it can be read: an address, or a file of the checkpoint."""
    origin: str = ""
    """Who says so, in words; empty where nobody does."""
    files: tuple[Path, ...] = ()
    """Its texts, to be copied along."""

    @property
    def is_known(self) -> bool:
        """Whether anything says under which terms the model came."""
        return self.identifier != UNKNOWN

    @property
    def notice(self) -> str | None:
        """A sentence that has to accompany every copy."""
        return LICENCES.get(self.identifier, {}).get("notice")

    def missing_notices(self) -> dict[str, str]:
        """The NOTICE file that the terms want and that does not come with the model, by its name; empty otherwise.

        A file of that name that says something else keeps what it says, with the sentence after it.
        """
        texts = {path.name: path.read_text(encoding="utf-8", errors="replace") for path in self.files}
        if self.notice is None or any(self.notice in text for name, text in texts.items() if "notice" in name.lower()):
            return {}
        return {"NOTICE": f"{texts.get('NOTICE', '')}{self.notice}\n"}


def terms_files(names: Iterable[str]) -> list[str]:
    """Of the files of a checkpoint, those that say under which terms it may be used: its card and licence texts."""
    return sorted(name for name in names if name == CARD or _TEXTS.fullmatch(name))


def find_licence(folder: Path, entry: ModelEntry | None) -> Licence:
    """What a model's own card says, or else the catalogue, or else a licence text beside its weights.

    Arguments:
        folder: the model's checkpoint; read, never changed.
        entry: the model's in the catalogue, where it has one.
    """
    names = terms_files(path.name for path in folder.iterdir() if path.is_file())
    files = tuple(folder / name for name in names if name != CARD)
    card = _front_matter(folder / CARD)
    stated = card.get("license")
    identifier, origin = UNKNOWN, ""
    name: str | None = None
    link: str | None = None
    if isinstance(stated, str) and stated not in ("", UNKNOWN):
        identifier, origin = stated, "the model card"
        named, linked = card.get("license_name"), card.get("license_link")
        name, link = named if isinstance(named, str) else None, linked if isinstance(linked, str) else None
    elif entry is not None:
        identifier, origin = entry.licence_id, "the catalogue of alignment-bench"
        name = entry.licence if identifier == OTHER else None
    elif files:
        identifier, name, link, origin = OTHER, "see-licence-file", files[0].name, "a licence text beside the weights"
    if link is None:
        link = LICENCES.get(identifier, {}).get("link") or (files[0].name if files else None)
    return Licence(identifier, name, link, origin, files)


def _front_matter(path: Path) -> Mapping[str, Any]:
    """The metadata of a model card; empty where there is no card, or none that can be read."""
    from huggingface_hub.repocard import metadata_load

    try:
        return metadata_load(path) or {}
    except (OSError, ValueError, yaml.YAMLError):
        return {}
