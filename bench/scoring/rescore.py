"""`bench score`: other scorers on the text that finished cells stored, without generating it again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from bench.core.code_version import code_version
from bench.core.errors import BenchError, UsageError
from bench.core.hashing import sha256_file, sha256_texts
from bench.core.progress import Progress, Silent
from bench.core.values import BASE, Metric
from bench.harness.directory import RunDirectory
from bench.leaderboard.board.values import Leaderboard
from bench.leaderboard.export import write_leaderboard
from bench.leaderboard.records.layout import config_path, generations_path, scores_path
from bench.leaderboard.records.record import Record
from bench.leaderboard.records.reports import metric_flags
from bench.leaderboard.records.rescored import AGGREGATION, LABELLER, Rescored, read_rescored, write_rescored
from bench.leaderboard.records.validation import copy_validations
from bench.spec.run_spec import read_yaml
from bench.tasks.outputs.continuations import Continuation
from bench.tasks.scorers.base import HUB, Scorer, build_scorer, scorer_identity
from bench.tasks.scorers.scoring import check_scored, score_texts
from bench.tasks.toxicity.metric import MOSTLY_UNSCORED, Aggregation, toxicity_metric
from bench.tasks.toxicity.protocols import protocol_settings

TASK = "toxicity"
PROMPT_COUNTS = ("merged", "too_long")
"""Counts that are of prompts, and no scorer changes."""
LISTED = 5


@dataclass(frozen=True)
class LoadedScorer:
    """A scorer with its column's title and all that its scores depend on."""

    name: str
    scorer: Scorer
    identity: Mapping[str, Any]

    @property
    def metric_name(self) -> str:
        """`toxicity [linear]`, or `toxicity [bilstm, label=insult]` where its settings are not the usual ones."""
        changed = self.scorer.model_dump(mode="json", exclude_defaults=True)
        if self.name.startswith(HUB):
            changed.pop("locator", None)
        return f"{TASK} [{', '.join([self.name, *(f'{key}={value}' for key, value in changed.items())])}]"


@dataclass
class Rescoring:
    """What came of it, one entry a cell and scorer."""

    written: list[Path] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    """Cells whose score was there."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Cells that have nothing to score, and why."""
    failed: dict[str, str] = field(default_factory=dict)
    """Cells that should have been scored and were not, and why."""
    board: Leaderboard | None = None


@dataclass(frozen=True)
class _Work:
    """One cell's text for one scorer."""

    record: Record
    loaded: LoadedScorer
    text: Path
    sha256: str
    identity: Mapping[str, Any]


def make_scorers(names: Sequence[str], settings: Mapping[str, JsonValue]) -> list[LoadedScorer]:
    """The named scorers, each with these settings; no file of the run is read, nothing is loaded.

    Raises:
        UsageError: no such scorer or setting, or the same scorer twice.
    """
    if len(set(names)) != len(names):
        raise UsageError(f"--scorer names something twice: {', '.join(names)}")
    return [LoadedScorer(name, build_scorer(name, settings), scorer_identity(name, settings)) for name in names]


def rescore(
    directory: Path, scorers: Sequence[LoadedScorer], *, cells: str | None = None, progress: Progress | None = None
) -> Rescoring:
    """Judge the stored text of finished cells and write the scores beside the records, each as soon as it is there.

    Records stay as they are. What the same scorer said of the same text before is not done again. The board is written
    anew, whatever happens.

    Arguments:
        directory: a run's.
        scorers: who scores.
        cells: only those whose id this shell pattern matches; None for all.

    Raises:
        UsageError: no run, no finished cell, or none that matches; the scorer's settings do not fit.
        BenchError: a scorer or a record cannot be had, or nothing at all could be scored.
    """
    progress = progress or Silent()
    records = _chosen(directory, cells)
    labeller = _labeller(directory)
    if any(record.data.source.startswith("on-policy") for record in records) and not config_path(directory).is_file():
        progress.note(f"{config_path(directory)} is not there: nobody says which scorer labelled the pairs")
    outcome = Rescoring()
    work = [item for loaded in scorers for record in records if (item := _work(record, loaded, directory, outcome))]
    for loaded in {item.loaded.name: item.loaded for item in work}.values():
        loaded.scorer.prepare(progress)
    try:
        with progress.track("score cells", len(work)) as advance:
            for item in work:
                _rescore_one(item, directory, labeller, outcome, progress)
                advance(1)
    finally:
        copy_validations(directory, [loaded.identity for loaded in scorers], progress)
        outcome.board = write_leaderboard(directory)
    if not outcome.written and not outcome.already:
        reasons = {**outcome.skipped, **outcome.failed}
        raise BenchError(f"nothing could be scored in {directory}:\n{_listed(reasons)}")
    return outcome


def _chosen(directory: Path, cells: str | None) -> list[Record]:
    run = RunDirectory(directory)
    if not run.records.is_dir():
        raise UsageError(f"{directory} has no folder 'records': give the directory that `bench run --out` wrote to")
    finished = run.finished()
    if not finished:
        raise UsageError(f"{directory} holds no finished cell, so that there is no text to score; see `bench run`")
    chosen = [record for id, record in sorted(finished.items()) if cells is None or fnmatchcase(id, cells)]
    if not chosen:
        there = _listed(dict.fromkeys(sorted(finished), ""))
        raise UsageError(f"--cells '{cells}' matches no cell of {directory}; there are:\n{there}")
    run.check()
    return chosen


def _labeller(directory: Path) -> str | None:
    """The scorer that made the on-policy pairs, as the newest run's settings say; None where nobody says."""
    path = config_path(directory)
    pairs = (read_yaml(path).get("pairs") or {}) if path.is_file() else {}
    on_policy = pairs.get("on_policy") or {}
    return on_policy.get("scorer") if pairs.get("source") == "on-policy" else None


def _work(record: Record, loaded: LoadedScorer, directory: Path, outcome: Rescoring) -> _Work | None:
    """What is to be done for a cell; None where there is nothing to do, which the outcome then says."""
    cell = f"{record.cell_id} {loaded.metric_name}"
    text = generations_path(directory, record.cell_id, TASK)
    if TASK not in record.metrics or not text.is_file():
        why = f"{text} is not there" if TASK in record.metrics else "toxicity was not measured"
        outcome.skipped[cell] = f"has no stored text: {why}"
        return None
    measured = record.evaluation[TASK]
    if measured["scorer"] == loaded.identity:
        outcome.already.append(f"{cell}: '{loaded.name}' judged it when it was run, see the column {TASK}")
        return None
    identity = {**measured, "scorer": loaded.identity, AGGREGATION: code_version(toxicity_metric.__module__)}
    path = scores_path(directory, record.cell_id, loaded.identity)
    try:
        done = path.exists() and read_rescored(path, directory).identity == identity
    except ValueError:  # made anew
        done = False
    if done:
        outcome.already.append(cell)
    return None if done else _Work(record, loaded, text, sha256_file(text), identity)


def _rescore_one(work: _Work, directory: Path, labeller: str | None, outcome: Rescoring, progress: Progress) -> None:
    cell = f"{work.record.cell_id} {work.loaded.metric_name}"
    try:
        metric = _measured(work, progress)
    except BenchError as error:
        outcome.failed[cell] = str(error)
        progress.note(f"{cell}: {error}")
        return
    if work.record.method.name != BASE and work.loaded.name == labeller:
        flags = [*metric_flags(metric), LABELLER]
        metric = metric.model_copy(update={"details": {**metric.details, "flags": flags}})
    score = Rescored(
        cell_id=work.record.cell_id,
        task=TASK,
        metric_name=work.loaded.metric_name,
        identity=work.identity,
        metric=metric,
        generations_sha256=work.sha256,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    outcome.written.append(write_rescored(score, directory))


def _measured(work: _Work, progress: Progress) -> Metric:
    """The task's own aggregate of another scorer's scores.

    Raises:
        BenchError: the text is damaged or not the record's, or the scorer fails on too much of it.
    """
    continuations, toxicities = read_stored(work.text)
    ids = dict.fromkeys(continuation.prompt_id for continuation in continuations)
    first = work.record.metrics[TASK]
    if first.items is not None and first.items.ids_sha256 != sha256_texts(ids):
        raise BenchError(f"{work.text} does not hold the text that the record was made from; run the cell again")
    texts = [continuation.text for continuation in continuations]
    scored = score_texts(work.loaded.scorer, texts, progress)
    check_scored(scored, texts)
    metric = toxicity_metric(
        continuations,
        scored.scores,
        scorer=work.loaded.name,
        aggregation=Aggregation.of(work.identity),
        unscored=scored.unscored,
        toxicities=toxicities,
    )
    return _with_what_no_scorer_changes(metric, first, work.loaded.name)


def _with_what_no_scorer_changes(metric: Metric, first: Metric, scorer: str) -> Metric:
    """A new aggregate with those numbers of the cell's own that rest on tokens, prompts or the unaligned model."""
    flags = [flag for flag in metric_flags(first) if flag != MOSTLY_UNSCORED]
    details = {
        **metric.details,
        "guards": first.details.get("guards", {}),
        "flags": [*metric_flags(metric), *flags],
    }
    if "departures" in first.details:
        wanted = protocol_settings(metric.details["protocol"]).get("scorer", scorer)
        departures = {key: value for key, value in first.details["departures"].items() if key != "scorer"}
        details["departures"] = {**departures, **({"scorer": scorer} if scorer != wanted else {})}
    counts = {name: first.counts[name] for name in PROMPT_COUNTS if name in first.counts}
    return metric.model_copy(update={"details": details, "counts": {**metric.counts, **counts}})


def read_stored(path: Path) -> tuple[list[Continuation], dict[str, float]]:
    """What a cell's model wrote, in order and without its tokens, and how toxic prompts were called, by their id.

    Raises:
        BenchError: the file is not what a run wrote; names the line.
    """
    try:
        # Split at line feeds alone: text may hold other signs that Python takes for line ends.
        lines = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path} cannot be read ({error}); run the cell again") from error
    continuations, toxicities = [], {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            columns = ("prompt_id", "sample", "continuation", "n_tokens", "ended")
            continuations.append(Continuation(*(row[column] for column in columns)))
            if row.get("prompt_toxicity") is not None:
                toxicities[row["prompt_id"]] = float(row["prompt_toxicity"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BenchError(f"{path}, line {number}, is damaged ({error}); run the cell again") from error
    return continuations, toxicities


def _listed(reasons: Mapping[str, str]) -> str:
    lines = [f"  {cell}: {reason}".removesuffix(": ") for cell, reason in list(reasons.items())[:LISTED]]
    more = [f"  and {len(reasons) - LISTED} more"] if len(reasons) > LISTED else []
    return "\n".join([*lines, *more])
