"""What `bench edit` is asked to do, and what that means once names are looked up. No model is loaded here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from bench.core.chat import ChatSettings
from bench.core.chat_date import CHAT_DATE
from bench.core.code_version import code_version
from bench.core.errors import UsageError
from bench.edit.record import hashes_of, read_evaluated, recorded_draw
from bench.leaderboard.records.labels import flat
from bench.leaderboard.records.record import Record
from bench.methods.base import METHODS, AlignmentMethod
from bench.models.devices import device_kind, resolve_device
from bench.models.placed import PlacedModel, place_model
from bench.models.sources import ModelSource, resolve_model
from bench.spec.messages import validated
from bench.spec.overrides import assign, parse_assignment
from bench.spec.run_spec import PairsSpec, RunSpec
from bench.tasks.preferences.draw import Draw
from bench.tasks.texts.prose import neutral_identity


@dataclass(frozen=True)
class EditRequest:
    """What was asked for. None means: as in the record, where there is one, or else the default."""

    pairs_file: Path
    """The pairs to align with or, with a record, the whole pool that its pairs were drawn from; see `read_pool`."""
    out: Path
    """A folder that does not exist yet, or is empty."""
    model: str | None = None
    method: str | None = None
    assignments: Sequence[str] = ()
    """`key=value` hyperparameters."""
    seed: int | None = None
    device: str | None = None
    dtype: str | None = None
    chat_date: date | None = None
    """What a chat template is given for today's date."""
    chat: ChatSettings | None = None
    """Whether a chat template writes the pairs; by default where they are messages."""
    neutral: str | None = None
    """Prose for the controls that read some."""
    record: Path | None = None
    """A finished cell's, whose metrics are to go on the card."""
    push_to: str | None = None
    """ORG/NAME on the hub."""
    private: bool = False


@dataclass(frozen=True)
class Edit:
    """A request with every name looked up and checked against its record."""

    model: PlacedModel
    name: str
    """The method's name in the registry."""
    method: AlignmentMethod
    draw: Draw
    """As the record's cell had it; without a record, the pairs as they stand."""
    neutral: str
    chat: ChatSettings
    record: Record | None

    @property
    def source(self) -> ModelSource:
        """Where the weights come from."""
        return self.model.source


def resolve_edit(request: EditRequest) -> Edit:
    """What a request means.

    Raises:
        UsageError: a name, hyperparameter or device is wrong, or the record is of something else; says of what.
        BenchError: the record cannot be read.
    """
    neutral = validated(PairsSpec, {"neutral": request.neutral} if request.neutral else {}, "pairs").neutral
    if request.record is not None:
        return _as_recorded(request, read_evaluated(request.record), neutral)
    if request.method is None:
        raise UsageError("say how to align: --method NAME (see `bench list methods`), or --record of a finished cell")
    method = validated(METHODS[request.method], _assigned({}, request.assignments), request.method)
    given = {name: getattr(request, name) for name in ("model", "device", "dtype", "chat_date")}
    spec = validated(RunSpec, {name: value for name, value in given.items() if value is not None}, "")
    return Edit(
        model=place_model(spec.model, device=spec.device, dtype=spec.dtype, chat_date=spec.chat_date),
        name=request.method,
        method=method,
        draw=Draw(seed=request.seed or 0, as_it_stands=True),
        neutral=neutral,
        chat=request.chat or ChatSettings(),
        record=None,
    )


def _as_recorded(request: EditRequest, record: Record, neutral: str) -> Edit:
    name, method = _recorded_method(request, record, neutral)
    _same("seed", request.seed, record.data.seed)
    _same("dtype", None if request.dtype == "auto" else request.dtype, record.model.dtype)
    kind = device_kind(record.cost.device)
    wanted = None if request.device in (None, "auto") else request.device
    _same("kind of device", wanted and device_kind(wanted), kind)
    device = resolve_device(wanted or kind)
    locator = record.model.locator
    if locator.startswith("hub:") and record.model.revision:  # a branch of the hub may have moved on
        locator = f"{locator.partition('@')[0]}@{record.model.revision}"
    recorded_date = record.model.chat_date or CHAT_DATE
    _same("chat date", request.chat_date, recorded_date)
    source = replace(resolve_model(request.model or locator), chat_date=recorded_date)
    if source.fingerprint() != record.model.fingerprint:
        raise UsageError(
            f"the record is of other weights: {source.locator} has fingerprint {source.fingerprint()[:12]}, the record "
            f"says {record.model.fingerprint[:12]} ({record.model.locator}); name those weights with --model"
        )
    placed = PlacedModel(source, device, record.model.dtype)
    return Edit(placed, name, method, recorded_draw(record), neutral, recorded_chat(request, record), record)


def recorded_chat(request: EditRequest, record: Record) -> ChatSettings:
    """The chat template that wrote a record's pairs, after making sure that none but it was asked for."""
    used = record.data.chat
    if used is None:
        _same("apply_chat_template", request.chat and request.chat.apply, False)
        return ChatSettings()  # earlier versions wrote messages by a template as well, and did not say so
    chat = ChatSettings(template=used.template, system_prompt=used.system_prompt)
    _same("the chat template", request.chat and request.chat.model_copy(update={"apply": "auto"}), chat)
    return chat


def _recorded_method(request: EditRequest, record: Record, neutral: str) -> tuple[str, AlignmentMethod]:
    """The record's method, after making sure that what was asked for is no other."""
    name = request.method or record.method.name
    if name not in METHODS:
        raise UsageError(f"the record's row '{name}' is no registered method; say which it is with --method")
    config = {key: value for key, value in record.method.config.items() if key not in ("neutral", "oracle")}
    foreign = sorted(set(config) - set(METHODS[name].model_fields))
    if foreign:
        raise UsageError(
            f"the record's hyperparameters are not those of {name}: {foreign[0]} is none; name the method of row "
            f"'{record.method.name}' with --method, or run the cell again if another version of {name} made it"
        )
    method = validated(METHODS[name], _assigned(config, request.assignments), name)
    prose = {"neutral": neutral_identity(neutral)} if method.needs_neutral else {}
    wanted, recorded = flat({**method.model_dump(mode="json"), **prose}), flat(record.method.config)
    for key in sorted(wanted.keys() | recorded.keys()):
        _same(f"{name}.{key}", wanted.get(key, "not set"), recorded.get(key, "not set"))
    code = code_version(type(method).__module__)
    if code != record.method.code and not hashes_of(record, method):
        raise UsageError(
            f"the code of {name} is another than the record's ({code} here, {record.method.code} there), and the "
            "record holds no hash of the weights, so that its metrics cannot be shown to be of these weights; run "
            "the cell again"
        )
    return name, method


def _assigned(config: Mapping[str, Any], assignments: Sequence[str]) -> Mapping[str, Any]:
    for text in assignments:
        key_path, value = parse_assignment(text)
        config = assign(config, key_path, value)
    return config


def _same(what: str, wanted: object, recorded: object) -> None:
    if wanted is not None and wanted != recorded:
        raise UsageError(
            f"the record is of something else: {what} is {wanted} here and {recorded} in the record; leave it out to "
            "take the record's, or leave out --record"
        )
