"""The cells of a run: what each is made of, and a name that nothing else can bear."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from bench.core.chat_date import CHAT_DATE
from bench.core.code_version import code_version
from bench.core.hashing import sha256_json
from bench.core.passes.shapes import fixed_rows
from bench.core.values import BASE
from bench.leaderboard.records.ledger import TuningNote
from bench.leaderboard.records.record import DataInfo, MethodInfo, ModelInfo, NoiseInfo, Record
from bench.methods.base import AlignmentMethod
from bench.models.devices import device_kind, resolve_batch_size
from bench.spec.run_spec import RunSpec, build_methods, is_oracle, needs_pairs, stated_tuning
from bench.tasks.base import Task
from bench.tasks.preferences.draw import Draw, PreferenceData, prepare_preferences
from bench.tasks.preferences.pool import PairPool
from bench.tasks.texts.prose import neutral_identity

BY_TEXTS = {"source", "chat", "n_pool"}
"""What is said of pairs that are known by their texts: where those come from, what template wrote them, and of how many
they were drawn."""


@dataclass(frozen=True)
class Cell:
    """One alignment and its evaluation."""

    id: str
    name: str
    """The method's row name."""
    method: AlignmentMethod
    draw: Draw | None
    """Which pairs the method is given; None for the unaligned model, which sees none."""
    data_info: DataInfo
    data_sha256: str
    """Of the pairs themselves, as `PreferenceData.sha256`; empty where there are none."""
    model: ModelInfo
    evaluation: Mapping[str, Any]
    neutral: Mapping[str, Any]
    """Which prose the method is given; empty for methods that read none."""
    tuned: TuningNote | None
    """How the hyperparameters were found; no part of the id, as the same ones found by luck give the same weights."""

    @property
    def method_info(self) -> MethodInfo:
        return MethodInfo(
            name=self.name,
            # Beside the hyperparameters, so that a board never takes cells with other prose for seeds of one row.
            config={
                **self.method.model_dump(mode="json"),
                **({"neutral": self.neutral} if self.neutral else {}),
                **({"oracle": True} if self.draw is not None and self.draw.oracle else {}),
            },
            code=code_version(type(self.method).__module__),
            tuned=self.tuned,
        )


def expand_cells(spec: RunSpec, model: ModelInfo, kind: str, pool: PairPool, tasks: Mapping[str, Task]) -> list[Cell]:
    """Every cell of a run: `base` once, then methods × sizes × noise rates × seeds, cells that share data side by side.

    Arguments:
        spec: what was asked for.
        model: identity of the weights.
        kind: of device, "cpu", "cuda", …: arithmetic differs between them, so results do.
        pool: all the pairs there are.
        tasks: what is measured, by name.

    Raises:
        UsageError: more pairs asked for than exist, or neutral texts in a file that does not.
    """
    # Everything but the model that a task's number depends on.
    evaluation = {
        name: {
            **task.identity(),
            "code": code_version(type(task).__module__),
            **({"chat_date": f"{model.chat_date}"} if model.chat_date and is_chat(task) else {}),
        }
        for name, task in tasks.items()
    }
    # Pairs are known by their texts, the date in them included; what else a method may make of the template is not.
    own_date = {"chat_date"} if model.chat_date not in (None, CHAT_DATE) else set()
    methods = build_methods(spec)
    batch_rows = fixed_rows(kind, model.dtype, resolve_batch_size(spec.batch_size, kind))

    @cache
    def described(draw: Draw | None) -> tuple[DataInfo, str]:
        data = None if draw is None else prepare_preferences(pool, draw)
        return describe_data(data), data.sha256 if data else ""

    def cell(name: str, draw: Draw | None) -> Cell:
        method = methods[name]
        oracle = draw is not None and is_oracle(spec, name)
        draw = replace(draw, oracle=True) if draw is not None and oracle else draw
        info, data_sha256 = described(draw)
        neutral = neutral_identity(spec.pairs.neutral) if method.needs_neutral else {}
        identity = {
            "model": model.model_dump(mode="json", include={"fingerprint", "dtype", *own_date}),
            "device": kind,
            "method": [
                type(method).__qualname__,
                method.model_dump(mode="json"),
                code_version(type(method).__module__),
            ],
            "data": None if draw is None else info.model_dump(mode="json", exclude=BY_TEXTS, exclude_none=True),
            "loading": code_version("bench.models.checkpoint"),
            "evaluation": evaluation,
            **({"neutral": neutral} if neutral else {}),
            **({"oracle": True} if oracle else {}),
            **({"batch_rows": batch_rows} if batch_rows else {}),
        }
        id = _readable_id(name, info, sha256_json(identity))
        tuned = stated_tuning(spec, name)
        return Cell(id, name, method, draw, info, data_sha256, model, evaluation, neutral, tuned)

    draws = plan_draws(spec)
    for draw in draws:
        described(draw)  # a shortage of pairs is said before anything else
    return [cell(BASE, None), *(cell(name, draw) for draw in draws for name in methods if name != BASE)]


def is_chat(task: Task) -> bool:
    """Whether a task puts its questions through the model's chat template, as `apply_chat_template` says."""
    return bool(getattr(task, "apply_chat_template", False))


def restated_tuning(cells: Sequence[Cell], finished: Mapping[str, Record]) -> list[str]:
    """One line for each finished cell whose record says something else of its tuning than the configuration says now.

    The record is not touched: it says how its numbers came about, and nothing that happened later changes that.
    """
    lines = []
    for cell in cells:
        record = finished.get(cell.id)
        if record is None:
            continue
        notes = [record.method.tuned, cell.tuned]
        stated, now = (note and note.statement() for note in notes)
        if stated != now:
            there, here = (str(note.trials) if note else "no" for note in notes)
            lines.append(
                f"cell {cell.id} is finished; its record, which stays as it is, states another tuning ({there} trials) "
                f"than the configuration does ({here} trials); move the record away to run the cell again"
            )
    return lines


def made_by_other_code(cells: Sequence[Cell], finished: Mapping[str, Record], kind: str) -> list[str]:
    """Finished cells on a kind of device that differ from some of `cells` in the version of the code alone."""
    ids = {cell.id for cell in cells}
    others = [record for id, record in finished.items() if id not in ids and device_kind(record.cost.device) == kind]
    wanted = [
        _apart_from_code(cell.model, cell.method_info, cell.data_info, cell.evaluation)
        for cell in (cells if others else ())
        if cell.id not in finished
    ]
    return [
        record.cell_id
        for record in others
        if _apart_from_code(record.model, record.method, record.data, record.evaluation) in wanted
    ]


def _apart_from_code(model: ModelInfo, method: MethodInfo, data: DataInfo, evaluation: Mapping[str, Any]) -> list[Any]:
    """What a cell is made of, as its record has it."""
    pairs = data.model_dump(exclude=BY_TEXTS)
    made_of = [method.name, model.fingerprint, model.dtype, method.config, pairs, evaluation]
    return [without_code(part) for part in made_of]


def without_code(value: Any) -> Any:
    """A JSON value without the versions of code in it."""
    if not isinstance(value, Mapping):
        return value
    return {key: without_code(inner) for key, inner in value.items() if key != "code"}


def plan_draws(spec: RunSpec) -> list[Draw]:
    """The draws of every size, noise rate and seed of a run; none where no method wants pairs."""
    if not needs_pairs(spec):
        return []
    return [
        Draw(n, spec.noise.model, rate, seed, spec.pairs.held_out, disjoint=spec.pairs.disjoint)
        for seed in spec.seeds
        for n in spec.pairs.sizes
        for rate in spec.noise.rates
    ]


def describe_data(data: PreferenceData | None) -> DataInfo:
    """What a record says of its pairs."""
    if data is None:
        none, nothing = "none", sha256_json([])
        noise = NoiseInfo(model=none, rate=0.0, n_flipped=0, flips_sha256=nothing)
        return DataInfo(
            source=none, pool_sha256=nothing, held_out=0, n_pairs=0, pairs_sha256=nothing, noise=noise, seed=0
        )
    # Where noise changes texts, they tell corrupted pairs apart; which ones were reversed says all of `flip`s.
    reverses = data.noise_model.startswith("flip")
    noise = NoiseInfo(
        model=data.noise_model,
        rate=data.rate,
        n_flipped=data.n_flipped,
        flips_sha256=data.flips_sha256,
        pairs_sha256=None if reverses else data.noisy_sha256,
        n_distinct=None if reverses else data.n_distinct,
    )
    return DataInfo(
        source=data.source,
        pool_sha256=data.pool_sha256,
        held_out=len(data.held_out),
        n_pairs=len(data.pairs),
        pairs_sha256=data.clean_sha256,
        noise=noise,
        seed=data.seed,
        chat=data.chat,
        n_pool=data.n_pool,
        disjoint=data.disjoint or None,
    )


def _readable_id(name: str, data: DataInfo, digest: str) -> str:
    """A file name that sorts and reads well; the digest alone makes it unique."""
    parts = (
        [name]
        if data.n_pairs == 0
        else [name, f"n{data.n_pairs}", f"{data.noise.model}{data.noise.rate:g}", f"seed{data.seed}"]
    )
    safe = "-".join("".join(c if c.isalnum() or c in "._" else "_" for c in part) for part in parts)
    return f"{safe}-{digest[:12]}"
