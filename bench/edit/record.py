"""Whether the metrics of a record are those of weights made anew: the same pairs first, the same bits in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.chat import ChatSettings
from bench.core.errors import BenchError, UsageError
from bench.core.passes.chat_template import ChatTemplate
from bench.core.values import BASE
from bench.harness.align import set_up_pairs
from bench.harness.provenance import provenance
from bench.leaderboard.board.build import comparable_groups
from bench.leaderboard.records.record import Record, read_record
from bench.leaderboard.records.reports import layer_reports
from bench.methods.base import AlignmentMethod
from bench.methods.projection.settings import ProjectionSettings
from bench.models.weights import WHOLE_MODEL
from bench.tasks.preferences.draw import Draw
from bench.tasks.preferences.pool import PairPool

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from bench.tasks.preferences.data_module import PreferenceDataModule


def read_evaluated(path: Path) -> Record:
    """The record of an aligned model.

    Raises:
        UsageError: there is no such file, or it is the unaligned model's.
        BenchError: it is no record.
    """
    if not path.is_file():
        raise UsageError(f"no such record: {path}; give a file of a run's `records` folder")
    record = read_record(path)
    if record.data.n_pairs == 0:
        raise UsageError(f"{path} is the record of the unaligned model, of which there is nothing to save")
    return record


def read_with_base(path: Path, record: Record) -> list[Record]:
    """A record and those of its directory that measured the unaligned model in the same way, oldest first."""
    bases = [read_record(other) for other in sorted(path.parent.glob(f"{BASE}-*.json"))]
    groups = comparable_groups([*(base for base in bases if base.method.name == BASE), record])
    return next(group for group in groups if any(member.cell_id == record.cell_id for member in group))


def recorded_draw(record: Record) -> Draw:
    """The draw that a record's method was given."""
    data = record.data
    oracle = bool(record.method.config.get("oracle"))
    n = data.n_pairs + (data.noise.n_flipped if oracle else 0)
    return Draw(n, data.noise.model, data.noise.rate, data.seed, data.held_out, oracle, disjoint=bool(data.disjoint))


def as_recorded(
    record: Record, pool: PairPool, chat: ChatSettings, load_tokenizer: Callable[[], PreTrainedTokenizerBase]
) -> PairPool:
    """The pool, plain texts written as the chats that the record's pairs are; a file may hold these as they are.

    Arguments:
        chat: which template.
    """
    if record.data.chat is None or pool.chat is not None or pool.sha256 == record.data.pool_sha256:
        return pool
    is_sampled = record.data.source.startswith("on-policy")
    return pool.in_chat(ChatTemplate.of(load_tokenizer(), chat), closed=not is_sampled)


def recorded_pairs(record: Record, pool: PairPool) -> PreferenceDataModule:
    """The pairs that a record's method was given, noise included, drawn again from the pool.

    Raises:
        UsageError: it is another pool, or this version draws other pairs or noise from it.
        BenchError: the data module holds other pairs than its draw.
    """
    data = record.data
    if pool.sha256 != data.pool_sha256:
        size = f"at least {data.held_out + data.n_pairs}{' pairs' if data.held_out else ''}"
        raise UsageError(
            f"{pool.source} holds other pairs than the record's: {len(pool.pairs)} of them with SHA-256 "
            f"{pool.sha256[:12]}, the record says {data.pool_sha256[:12]} ({size}, from "
            f"{data.source}); give the whole pool, e.g. as `bench pairs build --out FILE` wrote it"
        )
    module = set_up_pairs(replace(pool, source=data.source), recorded_draw(record))
    drawn = module.data
    for what, here, there in (
        ("pairs", drawn.clean_sha256, data.pairs_sha256),
        ("corrupted pairs", drawn.flips_sha256, data.noise.flips_sha256),
        ("noisy pairs", drawn.noisy_sha256, data.noise.pairs_sha256 or drawn.noisy_sha256),
    ):
        if here != there:
            raise UsageError(
                f"the record's {what} cannot be drawn again from {pool.source}: SHA-256 {here[:12]} here, "
                f"{there[:12]} in the record; another version of alignment-bench made it: run the cell again"
            )
    return module


def hashes_of(record: Record, method: AlignmentMethod) -> dict[str, str]:
    """What a record says of the bits of the measured weights: SHA-256 of all of them together under `WHOLE_MODEL`, or
    of the edited matrices under their names; empty where it says nothing."""
    if WHOLE_MODEL in record.provenance:
        return {WHOLE_MODEL: record.provenance[WHOLE_MODEL]}
    if not isinstance(method, ProjectionSettings):
        return {}
    matrices = [matrix for layer in layer_reports(record) for matrix in layer.matrices]
    return {matrix.name: matrix.sha256_after for matrix in matrices if matrix.sha256_after}


def check_same_weights(recorded: Mapping[str, str], made: Mapping[str, str], record: Record) -> str:
    """Make sure that a record's metrics are those of the weights just made.

    Arguments:
        recorded: as `hashes_of` gives them.
        made: of the weights just made, by the names of their tensors, and of all of them under `WHOLE_MODEL`.
        record: to say where it was made if they differ.

    Returns:
        How far that was checked, as a sentence.

    Raises:
        BenchError: they differ; names the first tensor where the record tells them apart.
    """
    differing = [name for name, sha256 in recorded.items() if made.get(name) != sha256]
    if differing:
        what = "the weights" if differing == [WHOLE_MODEL] else f"{len(differing)} tensors ({differing[0]} first)"
        raise BenchError(
            f"not the evaluated weights: {what} differ from those that {record.cell_id} measured. "
            f"{_differences(record)} Nothing was saved; align where the record was made, or leave out --record"
        )
    if WHOLE_MODEL in recorded:
        return "The SHA-256 of these weights equals that of the weights that were measured."
    if recorded:
        return (
            f"The SHA-256 of each of the {len(recorded)} edited matrices equals that of the matrix that was measured."
        )
    return (
        "Model, method, its code, pairs, noise, seed and kind of device are those of the measurement. That the weights "
        "are the same bit for bit was **not checked**: the record holds no hash of them."
    )


def _differences(record: Record) -> str:
    """Which packages, and which platform, are others than the record's."""
    here = provenance()
    recorded = record.provenance.get("packages", {})
    changes = [
        f"{name} {version} (there {recorded.get(name)})"
        for name, version in here["packages"].items()
        if recorded.get(name) != version
    ]
    if record.provenance.get("platform") != here["platform"]:
        changes.append(f"{here['platform']} (there {record.provenance.get('platform')})")
    return f"What is different here: {', '.join(changes)}." if changes else "Versions and platform are the record's."
