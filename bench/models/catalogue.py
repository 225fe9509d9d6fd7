"""The models that have a name here, as catalogue.yaml lists them."""

from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import TypeAdapter

from bench.core.store.assets import PypiFile
from bench.core.store.joined import JoinedFile
from bench.core.values import Value


class ModelEntry(Value):
    """A model that has a name here."""

    locator: str
    parameters: int
    """Weights, tied ones counted once."""
    licence: str
    note: str
    licence_id: str = "other"
    """The hub's identifier of the licence; `other` where it has none."""
    hub_name: str | None = None
    """ORG/NAME of the model on the hub, where the locator does not say it."""
    asset: PypiFile | JoinedFile | None = None
    """Its GGUF file; set where the locator is `pypi:`."""
    terms: tuple[PypiFile, ...] = ()
    """Licence and notice that have to accompany every copy; beside a model of the hub they are found by their names."""


MODELS: Mapping[str, ModelEntry] = TypeAdapter(dict[str, ModelEntry]).validate_python(
    yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
)
"""Models by name. Hub models follow their main branch until first downloaded; records hold the commit."""
