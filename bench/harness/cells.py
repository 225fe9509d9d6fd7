"""The cells of a run: what each is made of, and a name that nothing else can bear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.core.code_version import code_version
from bench.core.hashing import sha256_json
from bench.leaderboard.records.ledger import TuningNote
from bench.leaderboard.records.record import DataInfo, MethodInfo, ModelInfo, NoiseInfo, Record
from bench.methods.base import AlignmentMethod
from bench.spec.run_spec import BASE, RunSpec, build_methods, is_oracle, needs_pairs, stated_tuning
from bench.tasks.base import Task
from bench.tasks.preferences.draw import PreferenceData, prepare_preferences
from bench.tasks.preferences.pool import PairPool
from bench.tasks.texts.prose import neutral_identity


@dataclass(frozen=True)
class Cell:
    """One alignment and its evaluation."""

    id: str
    name: str
    """The method's row name."""
    method: AlignmentMethod
    preferences: PreferenceData | None
    """None for the unaligned model, which sees no pairs."""
    model: ModelInfo
    evaluation: Mapping[str, Any]
    neutral: Mapping[str, Any]
    """Which prose the method is given; empty for methods that read none."""
    tuned: TuningNote | None
    """How the hyperparameters were found; no part of the id, as the same ones found by luck give the same weights."""
    oracle: bool = False
    """Whether the method is given the pairs without the corrupted ones."""

    @property
    def method_info(self) -> MethodInfo:
        return MethodInfo(
            name=self.name,
            # Beside the hyperparameters, so that a board never takes cells with other prose for seeds of one row.
            config={
                **self.method.model_dump(mode="json"),
                **({"neutral": self.neutral} if self.neutral else {}),
                **({"oracle": True} if self.oracle else {}),
            },
            code=code_version(type(self.method).__module__),
            tuned=self.tuned,
        )

    @property
    def data_info(self) -> DataInfo:
        return _data_info(self.preferences)


def expand_cells(
    spec: RunSpec, model: ModelInfo, device_kind: str, pool: PairPool, tasks: Mapping[str, Task]
) -> list[Cell]:
    """Every cell of a run: `base` once, then methods × sizes × noise rates × seeds, cells that share data side by side.

    Arguments:
        spec: what was asked for.
        model: identity of the weights.
        device_kind: "cpu", "cuda", …: arithmetic differs between them, so results do.
        pool: all the pairs there are.
        tasks: what is measured, by name.

    Raises:
        UsageError: more pairs asked for than exist, or neutral texts in a file that does not.
    """
    evaluation = {name: task_identity(task) for name, task in tasks.items()}
    methods = build_methods(spec)

    def cell(name: str, preferences: PreferenceData | None) -> Cell:
        method, oracle = methods[name], is_oracle(spec, name)
        preferences = preferences.oracle if preferences is not None and oracle else preferences
        info = _data_info(preferences)
        neutral = neutral_identity(spec.pairs.neutral) if method.needs_neutral else {}
        identity = {
            "model": model.model_dump(mode="json", include={"fingerprint", "dtype"}),
            "device": device_kind,
            "method": [
                type(method).__qualname__,
                method.model_dump(mode="json"),
                code_version(type(method).__module__),
            ],
            "data": None
            if preferences is None
            else info.model_dump(mode="json", exclude={"source"}, exclude_none=True),
            "loading": code_version("bench.models.checkpoint"),
            "evaluation": evaluation,
            **({"neutral": neutral} if neutral else {}),
            **({"oracle": True} if oracle else {}),
        }
        id = _readable_id(name, info, sha256_json(identity))
        return Cell(id, name, method, preferences, model, evaluation, neutral, stated_tuning(spec, name), oracle)

    cells = [cell(BASE, None)]
    for preferences in compose(spec, pool):
        cells += [cell(name, preferences) for name in methods if name != BASE]
    return cells


def restated_tuning(cells: Sequence[Cell], finished: Mapping[str, Record]) -> list[str]:
    """One line for each finished cell whose record says something else of its tuning than the configuration says now.

    The record is not touched: it says how its numbers came about, and nothing that happened later changes that.
    """
    lines = []
    for cell in cells:
        record = finished.get(cell.id)
        if record is not None and record.method.tuned != cell.tuned:
            there, here = (str(each.trials) if each else "no" for each in (record.method.tuned, cell.tuned))
            lines.append(
                f"cell {cell.id} is finished; its record, which stays as it is, states another tuning ({there} trials) "
                f"than the configuration does ({here} trials); move the record away to run the cell again"
            )
    return lines


def task_identity(task: Task) -> dict[str, Any]:
    """Everything but the model that a task's number depends on, its code included."""
    return {**task.identity(), "code": code_version(type(task).__module__)}


def compose(spec: RunSpec, pool: PairPool) -> list[PreferenceData]:
    """The pairs of every size, noise rate and seed of a run; none where no method wants any.

    Raises:
        UsageError: more pairs asked for than exist.
    """
    if not needs_pairs(spec):
        return []
    return [
        prepare_preferences(pool, n=n, noise_model=spec.noise.model, rate=rate, seed=seed, held_out=spec.pairs.held_out)
        for seed in spec.seeds
        for n in spec.pairs.sizes
        for rate in spec.noise.rates
    ]


def _data_info(preferences: PreferenceData | None) -> DataInfo:
    if preferences is None:
        noise = NoiseInfo(model="none", rate=0.0, n_flipped=0, flips_sha256=sha256_json([]))
        return DataInfo(
            source="none",
            pool_sha256=sha256_json([]),
            held_out=0,
            n_pairs=0,
            pairs_sha256=sha256_json([]),
            noise=noise,
            seed=0,
        )
    noise = NoiseInfo(
        model=preferences.noise_model,
        rate=preferences.rate,
        n_flipped=preferences.n_flipped,
        flips_sha256=preferences.flips_sha256,
        **_noisy_texts(preferences),
    )
    return DataInfo(
        source=preferences.source,
        pool_sha256=preferences.pool_sha256,
        held_out=len(preferences.held_out),
        n_pairs=len(preferences.pairs),
        pairs_sha256=preferences.clean_sha256,
        noise=noise,
        seed=preferences.seed,
    )


def _noisy_texts(preferences: PreferenceData) -> dict[str, Any]:
    """What tells corrupted pairs apart where noise changes texts: which pairs were reversed says all of `flip`s."""
    if preferences.noise_model.startswith("flip"):
        return {}
    return {"pairs_sha256": preferences.noisy_sha256, "n_distinct": preferences.n_distinct}


def _readable_id(name: str, data: DataInfo, digest: str) -> str:
    """A file name that sorts and reads well; the digest alone makes it unique."""
    parts = (
        [name]
        if data.n_pairs == 0
        else [name, f"n{data.n_pairs}", f"{data.noise.model}{data.noise.rate:g}", f"seed{data.seed}"]
    )
    safe = "-".join("".join(c if c.isalnum() or c in "._" else "_" for c in part) for part in parts)
    return f"{safe}-{digest[:12]}"
