"""Settings that were tuned hold for the model and the pairs that they were tuned on."""

from collections.abc import Mapping
from typing import Any

from bench.core.errors import BenchError
from bench.models.sources import resolve_model

KEPT = ("use", "oracle")
"""Of a row that loses its tuned settings: which method it is, and which pairs it is given."""


def without_foreign_tuning(
    methods: Mapping[str, Mapping[str, Any]], model: str, pairs: str
) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """Rows of methods, those that were tuned on another model or on other pairs left to the method's defaults.

    Arguments:
        methods: row name to settings, as a file has them, without what a command line sets.
        model: locator of the model that is to be aligned.
        pairs: source of the pairs.

    Returns:
        The rows, and by name one line for each that lost its settings.
    """
    rows: dict[str, Mapping[str, Any]] = {}
    notes: dict[str, str] = {}
    for name, row in methods.items():
        reason = _foreign(row.get("tuned"), model, pairs)
        if reason is None:
            rows[name] = row
            continue
        rows[name] = {key: row[key] for key in KEPT if key in row}
        dropped = ", ".join(f"{key}={row[key]}" for key in row if key not in (*KEPT, "tuned"))
        kind = row.get("use", name)
        notes[name] = (
            f"{name}: {dropped} were tuned on {reason} and are not used; {kind}'s defaults are. "
            f"`bench tune {name}` finds settings for this model and these pairs"
        )
    return rows, notes


def _foreign(tuned: Any, model: str, pairs: str) -> str | None:
    """What settings were tuned on, where that is something else; None where it is not, or not said."""
    if not isinstance(tuned, Mapping):
        return None
    differing = []
    if tuned.get("model") is not None and _locator(str(tuned["model"])) != _locator(model):
        differing.append(str(tuned["model"]))
    if tuned.get("pairs") is not None and tuned["pairs"] != pairs:
        differing.append(f"the pairs {tuned['pairs']}")
    return " and ".join(differing) or None


def _locator(model: str) -> str:
    """What a model is called whoever names it; as it stands where it cannot be resolved, which is said elsewhere."""
    try:
        return resolve_model(model).locator
    except BenchError:
        return model
