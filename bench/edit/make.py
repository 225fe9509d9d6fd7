"""Align one model outside a benchmark and save it as a checkpoint that anything can load."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import UsageError
from bench.core.progress import Progress
from bench.core.values import AlignmentReport
from bench.edit.card import CardFacts, Evidence, model_card, shown_command, shown_name
from bench.edit.card_metrics import without_folders
from bench.edit.publish import check_destination, publish
from bench.edit.record import as_recorded, check_same_weights, hashes_of, read_with_base, recorded_pairs
from bench.edit.rehearsal import rehearse_saving
from bench.edit.request import Edit, EditRequest, resolve_edit
from bench.edit.saving import check_target, keep_weights, save_checkpoint
from bench.harness.align import alignment_context, set_up_pairs
from bench.harness.provenance import provenance
from bench.harness.resolved import check_texts, say_chat_date
from bench.leaderboard.board.build import make_leaderboard
from bench.leaderboard.records.record import Record
from bench.methods.base import PlannedAlignment
from bench.models.licence import Licence, find_licence
from bench.models.sources import FileModel
from bench.models.weights import WHOLE_MODEL, tensor_sha256s, weights_sha256
from bench.tasks.preferences.pool import load_pairs
from bench.tasks.texts.prose import neutral_texts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from bench.tasks.preferences.data_module import PreferenceDataModule

__all__ = ["EditRequest", "Edited", "edit_model"]


@dataclass(frozen=True)
class Edited:
    """What came of it."""

    folder: Path
    url: str | None
    """Of its page on the hub, where it was put there."""


@dataclass(frozen=True)
class _Prepared:
    """An edit with all that could be had or refused before the model is loaded."""

    edit: Edit
    request: EditRequest
    module: PreferenceDataModule
    """Holds the pairs."""
    neutral: Sequence[str]
    licence: Licence
    history: Sequence[Record]
    """The request's record and base's; empty without."""


def edit_model(request: EditRequest, progress: Progress) -> Edited:
    """Align a model with the pairs in a file, or as a record says, and save it to a new folder.

    Arguments:
        request: what to do.
        progress: where to show what is going on.

    Returns:
        The folder: weights in safetensors, tokenizer, generation settings, a model card, licence texts where there are
        any, and what was done, as `alignment.json`. It has been loaded again and compared, bit for bit.

    Raises:
        UsageError: before any model is loaded, for everything that can be known by then.
        BenchError: the method could not align the model, the weights are not those that the record's metrics are of,
            or the checkpoint could not be uploaded.
    """
    prepared = _prepare(request, progress)
    edit = prepared.edit
    model, tokenizer = edit.model.load(progress)
    edit.method.warm_up()
    with alignment_context(
        edit.model,
        prepared.module,
        progress=progress,
        diagnostics=True,
        neutral=prepared.neutral,
        rescue=request.out.parent,
    ) as context:
        report = edit.method.align(model, tokenizer, prepared.module.pairs, context=context)
    try:
        tensors = tensor_sha256s(model)
        facts = _facts(prepared, report, model, tensors)
        save_checkpoint(
            model,
            edit.source.folder(),
            request.out,
            tensors=tensors,
            documents=_documents(prepared, facts, tensors),
            copies=prepared.licence.files,
            progress=progress,
        )
    except Exception as error:
        raise keep_weights(model, request.out, error) from error
    url = None
    if request.push_to is not None:
        message = f"{facts.base} after {facts.method} (alignment-bench)"
        url = publish(request.out, request.push_to, private=request.private, message=message, progress=progress)
    return Edited(request.out, url)


def _prepare(request: EditRequest, progress: Progress) -> _Prepared:
    edit = resolve_edit(request)
    check_target(request.out)
    if request.push_to is not None:
        check_destination(request.push_to, private=request.private)
    elif request.private:
        raise UsageError("--private says how to make a repository of the hub: it needs --push-to-hub ORG/NAME")

    def load_tokenizer() -> PreTrainedTokenizerBase:
        edit.source.fetch(progress)
        say_chat_date(edit.source, progress)
        return edit.source.load_tokenizer()

    pool = load_pairs(f"file:{request.pairs_file}", progress, load_tokenizer=load_tokenizer, chat=edit.chat)
    history: Sequence[Record] = ()
    if edit.record is None and pool.chat is None and edit.chat.system_prompt is not None:
        raise UsageError("--system-prompt is given, and the pairs are no messages; add --apply-chat-template")
    if edit.record is None or request.record is None:
        module = set_up_pairs(pool, edit.draw)
    else:
        module = recorded_pairs(edit.record, as_recorded(edit.record, pool, edit.chat, load_tokenizer))
        history = read_with_base(request.record, edit.record)
    if module.data.chat:
        progress.note(f"{edit.source.locator}: its chat template writes the pairs")
    n_pairs = len(module.pairs)
    edit.source.fetch(progress)
    planned = PlannedAlignment(
        edit.source.config(),
        n_pairs,
        dtype=edit.model.dtype,
        device=edit.model.device,
        pairs=module.pairs,
        held_out=module.held_out,
        seed=edit.draw.seed,
    )
    edit.method.check(planned)
    check_texts([(edit.name, edit.method, planned)], edit.source.load_tokenizer())
    neutral = neutral_texts(edit.neutral, 2 * n_pairs, progress) if edit.method.needs_neutral else ()
    licence = find_licence(edit.source.fetch_terms(progress), edit.source.entry)
    if not licence.is_known:
        progress.note(f"nothing says under which licence {edit.source.locator} came; the card says so")
    rehearse_saving(edit.model, request.out, licence.files)
    return _Prepared(edit, request, module, neutral, licence, history)


def _facts(
    prepared: _Prepared, report: AlignmentReport, model: PreTrainedModel, tensors: Mapping[str, str]
) -> CardFacts:
    """All that the card says; makes sure that a record's metrics are of these weights."""
    edit, request, source = prepared.edit, prepared.request, prepared.edit.source
    whole = weights_sha256(tensors)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    changed = [name for name in sizes if name in report.changed]
    evidence = None
    if edit.record is not None:
        recorded = hashes_of(edit.record, edit.method)
        proof = check_same_weights(recorded, {**tensors, WHOLE_MODEL: whole}, edit.record)
        (table,) = make_leaderboard(prepared.history).tables
        evidence = Evidence(edit.record.cell_id, table, proof)
    return CardFacts(
        name=request.push_to.partition("/")[2] if request.push_to else shown_name(request.out),
        repository=request.push_to,
        base=source.hub_name or (source.path.name if isinstance(source, FileModel) else source.locator),
        base_on_hub=source.hub_name,
        base_note=source.entry.note if source.entry and source.entry.asset else None,
        revision=source.revision,
        fingerprint=source.fingerprint(),
        dtype=edit.model.dtype,
        method=edit.name,
        summary=(type(edit.method).__doc__ or "").strip().partition("\n")[0],
        config=edit.method.model_dump(mode="json"),
        report=report,
        n_tensors=len(sizes),
        n_changed=len(changed),
        n_weights=sum(sizes.values()),
        n_changed_weights=sum(sizes[name] for name in changed),
        weights_sha256=whole,
        preferences=prepared.module.data,
        from_record=edit.record is not None,
        evidence=evidence,
        licence=prepared.licence,
        command=_command(prepared),
        provenance=provenance(),
    )


def _documents(prepared: _Prepared, facts: CardFacts, tensors: Mapping[str, str]) -> dict[str, str]:
    """The text files of the checkpoint, by name; no path of this machine is in any of them."""
    edit, preferences = prepared.edit, prepared.module.data
    about = {
        "model": {
            "locator": without_folders(edit.source.locator),
            "revision": edit.source.revision,
            "fingerprint": facts.fingerprint,
            "dtype": edit.model.dtype,
        },
        "method": {"name": edit.name, "config": dict(facts.config)},
        "data": {
            "n_pairs": len(preferences.pairs),
            "pairs_sha256": preferences.clean_sha256,
            "pool_sha256": preferences.pool_sha256,
            "flips_sha256": preferences.flips_sha256,
            "seed": edit.draw.seed,
            "chat": preferences.chat.model_dump(mode="json") if preferences.chat else None,
        },
        "record": edit.record.cell_id if edit.record else None,
        "alignment": facts.report.model_dump(mode="json"),
        "weights_sha256": facts.weights_sha256,
        "tensors_sha256": dict(tensors),
        "provenance": {**facts.provenance, "command": facts.command},
    }
    return {
        "README.md": model_card(facts),
        "alignment.json": json.dumps(about, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        **prepared.licence.missing_notices(),
    }


def _command(prepared: _Prepared) -> str:
    """The same request again, with every default said that could change."""
    edit, request = prepared.edit, prepared.request
    if request.record is not None:
        flags: list[tuple[str, str | Path | bool | None]] = [("--record", request.record)]
    else:
        flags = [("--model", edit.source.locator), ("--method", edit.name)]
        flags += [("--set", text) for text in request.assignments]
        flags += [("--seed", str(edit.draw.seed)), ("--dtype", edit.model.dtype)]
        day = edit.source.written_date()
        flags += [("--chat-date", str(day))] if day is not None else []
        flags += [("--apply-chat-template", edit.chat.apply is True), ("--system-prompt", edit.chat.system_prompt)]
    if edit.method.needs_neutral:
        flags.append(("--neutral", edit.neutral))
    flags += [("--pairs-file", request.pairs_file), ("--out", request.out)]
    return shown_command(flags)
