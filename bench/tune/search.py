"""Searches a method's hyperparameters on a share of the training pairs that carries the same noise as the rest."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.code_version import code_version
from bench.core.errors import UsageError
from bench.core.hashing import sha256_json
from bench.core.progress import Progress
from bench.core.values import PreferencePair
from bench.harness.align import set_up_pairs
from bench.harness.cells import plan_draws
from bench.harness.directory import RunDirectory
from bench.harness.run import make_pairs
from bench.methods.base import AlignmentMethod
from bench.methods.pairs.gain import share_by_prompt
from bench.models.devices import device_kind
from bench.models.placed import place_model
from bench.spec.messages import validated
from bench.spec.run_spec import RunSpec
from bench.tasks.preferences.draw import describe_split
from bench.tune.bound import make_bound
from bench.tune.objective import (
    BETA,
    CRITERION,
    AlignmentFailedError,
    HeldOutObjective,
    make_objective,
    validation_length,
)
from bench.tune.space import SearchSpace
from bench.tune.trials import Trial, TrialJournal, best_trial
from bench.tune.winner import write_best

if TYPE_CHECKING:
    from bench.tasks.preferences.data_module import PreferenceDataModule

CRITERION_CODE = ("bench.methods.pairs.gain", "bench.methods.pairs.likelihoods", "bench.models.checkpoint")
"""The code that a trial's numbers come from besides the method's."""


@dataclass(frozen=True)
class Tuning:
    """A search: what is varied, what is fixed, and how much may be spent."""

    spec: RunSpec
    """One size, one noise rate, one seed, and the method's row alone."""
    written: Mapping[str, Any]
    """The configuration that the winner is put into, all rows included, as it was written."""
    row: str
    kind: str
    """The method's registered name."""
    method: type[AlignmentMethod]
    configured: Mapping[str, Any]
    """The row's hyperparameters before the search."""
    space: SearchSpace
    trials: int
    """How many are to be spent in all, those of earlier calls included."""
    validation: float
    """Share of the training pairs that judges."""
    out: Path
    max_perplexity_rise: float | None = None
    """Share by which perplexity on neutral texts may rise; None: no bound."""

    @property
    def fixed(self) -> dict[str, Any]:
        """The row's hyperparameters that are not varied."""
        return {name: value for name, value in self.configured.items() if name not in self.space.dimensions}

    def build(self, settings: Mapping[str, Any]) -> AlignmentMethod:
        """The method with these hyperparameters.

        Raises:
            UsageError: it does not allow them.
        """
        return validated(self.method, settings, f"methods.{self.row}")


@dataclass(frozen=True)
class SearchResult:
    """What came of a search."""

    trials: Sequence[Trial]
    best: Trial
    config: Path
    """A configuration with the winner in it."""
    varied: Sequence[str]
    """The hyperparameters that were varied."""


def search_hyperparameters(tuning: Tuning, *, progress: Progress) -> SearchResult:
    """Spend the trials that are still missing, and write the winner as a configuration for `bench run`.

    Each trial aligns a fresh model with the training pairs outside the validation share, and is judged by the fall of
    the DPO loss on that share; where there is a bound on perplexity, only those within it can win. No clean pair, no
    evaluation prompt and no scorer takes part. Each trial is kept as soon as it is finished: an interrupted search goes
    on where it stopped, and comes to what it would have come to.

    Raises:
        UsageError: it cannot be done as asked, as far as that can be known before a model is loaded.
        BenchError: no trial succeeded, or something that all of them need cannot be had.
    """
    RunDirectory(tuning.out).check()
    for note in tuning.spec.notes:
        progress.note(note)
    pool = make_pairs(tuning.spec, progress=progress)
    (draw,) = plan_draws(tuning.spec)
    progress.note(describe_split(pool, draw.held_out, [draw.n]))
    objective, search = _set_up(tuning, set_up_pairs(pool, draw), progress)
    space = tuning.space.sized(objective.model.source.config().get_text_config().num_hidden_layers)
    journal = TrialJournal(tuning.out, search, space.distributions())
    trials = journal.read()
    with progress.track(f"tune {tuning.row}", tuning.trials) as advance:
        advance(min(len(trials), tuning.trials))
        while len(trials) < tuning.trials:
            trials.append(_next_trial(tuning, space, objective, trials))
            journal.append(trials[-1])
            progress.note(_summary(trials, tuning))
            advance(1)
    best = best_trial(trials)
    config = write_best(tuning.out / "best.yaml", tuning.written, tuning.row, tuning.kind, trials, search)
    return SearchResult(trials, best, config, tuple(space.dimensions))


def _set_up(
    tuning: Tuning, module: PreferenceDataModule, progress: Progress
) -> tuple[HeldOutObjective, dict[str, Any]]:
    """What all trials maximise, and everything that their numbers depend on besides their settings, as JSON."""
    spec = tuning.spec
    model = place_model(spec.model, device=spec.device, dtype=spec.dtype, chat_date=spec.chat_date)
    data = module.data
    rows = _validation_rows(data.pairs, tuning.validation, data.seed)
    limit = tuning.max_perplexity_rise
    bound = None if limit is None else make_bound(limit, tuning.spec.pairs.neutral, progress)
    objective = make_objective(model, module, rows, progress, bound)
    search = {
        "model": {
            "locator": model.source.locator,
            "fingerprint": model.source.fingerprint(),
            "dtype": model.dtype,
            "device": device_kind(model.device),
        },
        "method": {
            "name": tuning.kind,
            "configured": dict(tuning.configured),
            "code": code_version(tuning.method.__module__),
        },
        "space": tuning.space.plain(),
        "data": {
            "source": data.source,
            "pairs": len(data.pairs),
            "pairs_sha256": data.clean_sha256,
            "noise": {"model": data.noise_model, "rate": data.rate, "pairs_sha256": data.noisy_sha256},
            "seed": data.seed,
        },
        "validation": {"share": tuning.validation, "pairs": len(rows), "rows_sha256": sha256_json(rows)},
        "criterion": {
            "name": CRITERION,
            "beta": BETA,
            "max_length": validation_length(model.source.config()),
            "code": {name: code_version(name) for name in CRITERION_CODE},
        },
        **({} if bound is None else {"perplexity_bound": dict(bound.plain)}),
    }
    return objective, search


def _validation_rows(pairs: Sequence[PreferencePair], share: float, seed: int) -> list[int]:
    """Positions of the pairs that judge.

    Raises:
        UsageError: there are too few to split.
    """
    if len(pairs) < 4:
        raise UsageError(f"{len(pairs)} training pairs are too few to split; give at least 4")
    rows = share_by_prompt(pairs, share, seed)
    left = len(pairs) - len(rows)
    if min(len(rows), left) < 2:
        raise UsageError(
            f"--validation {share:g} splits {len(pairs)} training pairs into {left} to align with and {len(rows)} to "
            "judge by; each takes 2 or more"
        )
    return rows


def _next_trial(tuning: Tuning, space: SearchSpace, objective: HeldOutObjective, trials: Sequence[Trial]) -> Trial:
    """The next setting, tried; the first is the method as it was configured, so that nothing worse can win."""
    if not trials:
        method = tuning.build(tuning.configured)
        values = method.model_dump(mode="json")
        settings = {**tuning.fixed, **{name: tuning.configured.get(name, values[name]) for name in space.dimensions}}
        return _try(tuning, objective, trials, settings, space.locate(method))
    tried = [(trial.parameters, trial.score) for trial in trials if trial.parameters and trial.score is not None]
    parameters = space.propose(tried, len(trials), objective.module.draw.seed)
    return _try(tuning, objective, trials, {**tuning.fixed, **space.settings(parameters)}, parameters)


def _try(
    tuning: Tuning,
    objective: HeldOutObjective,
    trials: Sequence[Trial],
    settings: Mapping[str, Any],
    parameters: Mapping[str, Any] | None,
) -> Trial:
    """One setting's trial: done now, taken over from an equal one, or failed."""
    start = time.perf_counter()
    trial = Trial(number=len(trials), state="failed", settings=settings, parameters=parameters)
    try:
        method = tuning.build(settings)
        trial = trial.model_copy(update={"method": method.model_dump(mode="json")})
        for earlier in trials:
            if earlier.method == trial.method:
                taken = {"number": trial.number, "state": "repeated", "parameters": parameters, "seconds": 0.0}
                return earlier.model_copy(update=taken)
        objective.check(method)
    except UsageError as error:
        return trial.model_copy(update={"error": str(error)})
    try:
        gain, report, rise = objective.evaluate(method)
    except AlignmentFailedError as error:
        return trial.model_copy(update={"error": str(error), "seconds": round(time.perf_counter() - start, 3)})
    limit = tuning.max_perplexity_rise
    numbers: dict[str, Any] = {"gain": gain.gain, "stderr": gain.stderr, "margin": gain.margin, "cost": gain.cost}
    numbers |= {"perplexity_rise": rise, "over_bound": rise is not None and limit is not None and rise > limit}
    seconds = round(time.perf_counter() - start, 3)
    return trial.model_copy(update={"state": "done", "flags": report.flags, "seconds": seconds, **numbers})


def _summary(trials: Sequence[Trial], tuning: Tuning) -> str:
    """One line on the newest trial and the best so far."""
    newest = trials[-1]
    came_to = f"failed: {newest.error}" if newest.gain is None else f"gain {newest.gain_text}"
    if newest.perplexity_rise is not None:
        over = ", over the bound" if newest.over_bound else ""
        came_to += f", perplexity {newest.perplexity_rise:+.1%}{over}"
    setting = ", ".join(f"{name} {newest.settings[name]}" for name in tuning.space.dimensions)
    ranked = any(trial.sure is not None for trial in trials)
    best = f"; best so far trial {best_trial(trials).number + 1}" if ranked else ""
    return f"trial {newest.number + 1} of {tuning.trials}: {setting}: {came_to}{best}"
