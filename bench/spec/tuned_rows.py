"""Settings that were tuned hold for the model and the pairs that they were tuned on.

A row's `tuned` names both, and their fingerprints where they have any. Where there are none, names decide.
"""

import shlex
from collections.abc import Collection, Mapping
from typing import Any

from bench.core.errors import BenchError, UsageError
from bench.core.files import expanded
from bench.core.hashing import sha256_json
from bench.core.store.cache import file_sha256
from bench.leaderboard.records.ledger import SCOPE
from bench.models.sources import resolve_model
from bench.spec.run_spec import ROW_KEYS, PairsSpec, RunSpec


def model_fingerprint(model: str) -> str | None:
    """SHA-256 of a model's weights, configuration and tokenizer, or of the commit that they come from, as in records.

    No weights are downloaded; those of a folder are read, once for as long as they do not change. None where the model
    cannot be found, or the hub is not known to have it.
    """
    try:
        return resolve_model(model).fingerprint()
    except BenchError:
        return None


def pairs_fingerprint(pairs: PairsSpec) -> str | None:
    """SHA-256 of a file's bytes, or of the settings that pairs are sampled with; None of a data set of the hub, which
    its name and revision stand for, and of a file that is not there."""
    if pairs.source == "on-policy":
        return sha256_json(pairs.on_policy.model_dump(mode="json", exclude_defaults=True))
    path = expanded(pairs.source.removeprefix("file:"))
    return None if pairs.source.startswith("hub:") or not path.is_file() else file_sha256(path)


def with_own_scope(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A file's settings in which every row that was tuned names a model and pairs: the file's own where it names none.

    Arguments:
        settings: as the file has them, not checked yet.
        where: the file, for the message.

    Raises:
        UsageError: the file has several models, so that it is not known which one was meant.
    """
    methods, models = settings.get("methods"), settings.get("models") or [settings.get("model", RunSpec().model)]
    if not isinstance(methods, Mapping):
        return dict(settings)
    pairs = settings.get("pairs")
    source = pairs.get("source", PairsSpec().source) if isinstance(pairs, Mapping) else PairsSpec().source
    rows = dict(methods)
    for name, row in methods.items():
        tuned = row.get("tuned") if isinstance(row, Mapping) else None
        if not isinstance(tuned, Mapping) or not tuned.get("trials"):  # without trials nothing was tuned to a model
            continue
        own = {"model": models[0]} if not {"model", "model_fingerprint"} & tuned.keys() else {}
        own |= {"pairs": source} if not {"pairs", "pairs_fingerprint"} & tuned.keys() else {}
        if "model" in own and len(models) > 1:
            raise UsageError(
                f"{where}: methods.{name}.tuned does not say on which model, and there are several "
                f"({', '.join(map(str, models))}); add 'model: NAME' to it"
            )
        rows[name] = {**row, "tuned": {**tuned, **own}}
    return {**settings, "methods": rows}


def without_foreign_tuning(
    methods: Mapping[str, Mapping[str, Any]], model: str, pairs: PairsSpec
) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """Rows of methods, those that were tuned on another model or on other pairs left to the method's defaults.

    Arguments:
        methods: row name to settings.
        model: the one that is to be aligned.
        pairs: the ones that it is to be aligned with.

    Returns:
        The rows, and by name one line for each that lost its settings.
    """
    same = f"--model {shlex.quote(model)} --set {shlex.quote(f'pairs.source={pairs.source}')}"
    rows: dict[str, Mapping[str, Any]] = {}
    notes: dict[str, str] = {}
    for name, row in methods.items():
        tuned = row.get("tuned")
        reason = _foreign(tuned, model, pairs) if isinstance(tuned, Mapping) else None
        if reason is None or not isinstance(tuned, Mapping):
            rows[name] = row
            continue
        dropped = tuned_settings(row)
        rows[name] = {key: row[key] for key in row if key not in dropped and key != "tuned"}
        kind = row.get("use", name)
        notes[name] = (
            f"{name}: {', '.join(f'{key}={row[key]}' for key in dropped)} were tuned on {reason} and are not used; "
            f"{kind}'s defaults are. `bench tune {name} {same}` finds settings for this model and these pairs"
        )
    return rows, notes


def tuned_settings(row: Mapping[str, Any]) -> list[str]:
    """Which of a row's hyperparameters its `tuned` speaks of: those that it names, or all."""
    named = row["tuned"].get("settings")
    return [key for key in row if key not in ROW_KEYS and (named is None or key in named)]


def with_typed(row: Mapping[str, Any], typed: Collection[str]) -> dict[str, Any]:
    """A row in which some settings were put by hand. How the others were found is no longer stated, as they were found
    together with what is gone; what they hold for stays, so that they never reach another model."""
    if "tuned" in typed or not isinstance(row.get("tuned"), Mapping):
        return dict(row)
    others = [key for key in tuned_settings(row) if key not in typed]
    rest = {key: value for key, value in row.items() if key != "tuned"}
    if not others:
        return rest
    scope = {key: value for key, value in row["tuned"].items() if key in SCOPE}
    return {**rest, "tuned": {**scope, "settings": others}}


def _foreign(tuned: Mapping[str, Any], model: str, pairs: PairsSpec) -> str | None:
    """What settings were tuned on, where that is something else; None where it is not, or not said."""
    name, fingerprint = tuned.get("model"), tuned.get("model_fingerprint")
    differing = []
    if name is not None or fingerprint is not None:
        stated, asked = _locator(name), _locator(model)
        # What comes from elsewhere never has the same fingerprint, and large files take a while to read.
        can_match = name is None or str(stated).partition(":")[0] == str(asked).partition(":")[0]
        actual = model_fingerprint(model) if fingerprint is not None and can_match else None
        if not (stated == asked if actual is None else actual == fingerprint):
            differing.append(f"other weights of {name}" if stated == asked else str(name or "another model"))
    name, fingerprint = tuned.get("pairs"), tuned.get("pairs_fingerprint")
    if name is not None or fingerprint is not None:
        actual = None if fingerprint is None else pairs_fingerprint(pairs)
        if not (name == pairs.source if actual is None else actual == fingerprint):
            differing.append(
                f"other pairs of {name}" if name == pairs.source else f"the pairs {name or 'of another file'}"
            )
    return " and ".join(differing) or None


def _locator(model: Any) -> str | None:
    """What a model is called whoever names it; as it stands where it cannot be resolved, which is said elsewhere."""
    if model is None:
        return None
    try:
        return resolve_model(str(model)).locator
    except BenchError:
        return str(model)
