"""Searches a method's hyperparameters on a share of the training pairs that carries the same noise as the rest."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.code_version import code_version
from bench.core.errors import UsageError
from bench.core.hashing import sha256_json
from bench.core.progress import Progress
from bench.core.values import PreferencePair
from bench.harness.cells import compose
from bench.harness.directory import RunDirectory
from bench.harness.run import make_pairs
from bench.methods.base import AlignmentMethod
from bench.methods.pairs.gain import share_by_prompt
from bench.models.devices import device_kind, resolve_device, resolve_dtype
from bench.models.sources import resolve_model
from bench.spec.messages import validated
from bench.spec.run_spec import RunSpec
from bench.tasks.preferences.draw import PreferenceData
from bench.tune.judge import BETA, CRITERION, AlignmentFailedError, HeldOutObjective, judged_length, make_judge
from bench.tune.space import SearchSpace
from bench.tune.trials import Trial, TrialFile, best_trial
from bench.tune.winner import write_best

JUDGING = ("bench.methods.pairs.gain", "bench.methods.pairs.likelihoods", "bench.models.checkpoint")
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
    the DPO loss on that share. No clean pair, no evaluation prompt and no scorer takes part. After every trial
    `trials.json` is whole: an interrupted search goes on where it stopped, and comes to what it would have come to.

    Raises:
        UsageError: it cannot be done as asked, as far as that can be known before a model is loaded.
        BenchError: no trial succeeded, or something that all of them need cannot be had.
    """
    RunDirectory(tuning.out).check()
    pool = make_pairs(tuning.spec, progress=progress)
    (preferences,) = compose(tuning.spec, pool)
    judge, search = _set_up(tuning, preferences, progress)
    space = tuning.space.sized(judge.source.config().get_text_config().num_hidden_layers)
    file = TrialFile(tuning.out / "trials.json", search)
    trials = file.read()
    with progress.track(f"tune {tuning.row}", tuning.trials) as advance:
        advance(min(len(trials), tuning.trials))
        while len(trials) < tuning.trials:
            trials.append(_next_trial(tuning, space, judge, trials))
            file.write(trials)
            progress.note(_summary(trials, tuning))
            advance(1)
    best = best_trial(trials)
    config = write_best(tuning.out / "best.yaml", tuning.written, tuning.row, tuning.kind, trials, search)
    return SearchResult(trials, best, config, tuple(space.dimensions))


def _set_up(tuning: Tuning, preferences: PreferenceData, progress: Progress) -> tuple[HeldOutObjective, dict[str, Any]]:
    """The judge of all trials, and everything that their numbers depend on besides their settings, as JSON."""
    source = resolve_model(tuning.spec.model)
    device = resolve_device(tuning.spec.device)
    dtype = resolve_dtype(tuning.spec.dtype, device)
    rows = _validation_rows(preferences.pairs, tuning.validation, preferences.seed)
    fit = [pair for row, pair in enumerate(preferences.pairs) if row not in set(rows)]
    judged = [preferences.pairs[row] for row in rows]
    judge = make_judge(source, fit, judged, device=device, dtype=dtype, seed=preferences.seed, progress=progress)
    search = {
        "model": {
            "locator": source.locator,
            "fingerprint": source.fingerprint(),
            "dtype": dtype,
            "device": device_kind(device),
        },
        "method": {
            "name": tuning.kind,
            "configured": dict(tuning.configured),
            "code": code_version(tuning.method.__module__),
        },
        "space": tuning.space.plain(),
        "data": _data(preferences),
        "validation": {"share": tuning.validation, "pairs": len(rows), "rows_sha256": sha256_json(rows)},
        "criterion": {
            "name": CRITERION,
            "beta": BETA,
            "max_length": judged_length(source.config()),
            "code": {name: code_version(name) for name in JUDGING},
        },
    }
    return judge, search


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


def _data(preferences: PreferenceData) -> dict[str, Any]:
    return {
        "source": preferences.source,
        "pairs": len(preferences.pairs),
        "pairs_sha256": preferences.clean_sha256,
        "noise": {"model": preferences.noise_model, "rate": preferences.rate, "pairs_sha256": preferences.noisy_sha256},
        "seed": preferences.seed,
    }


def _next_trial(tuning: Tuning, space: SearchSpace, judge: HeldOutObjective, trials: Sequence[Trial]) -> Trial:
    """The next setting, tried; the first is the method as it was configured, so that nothing worse can win."""
    if not trials:
        method = tuning.build(tuning.configured)
        values = method.model_dump(mode="json")
        settings = {**tuning.fixed, **{name: tuning.configured.get(name, values[name]) for name in space.dimensions}}
        return _try(tuning, judge, trials, settings, space.place(method))
    tried = [
        (trial.parameters, trial.sure) for trial in trials if trial.parameters is not None and trial.sure is not None
    ]
    parameters = space.propose(tried, len(trials), judge.seed)
    return _try(tuning, judge, trials, {**tuning.fixed, **space.settings(parameters)}, parameters)


def _try(
    tuning: Tuning,
    judge: HeldOutObjective,
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
        judge.check(method)
    except UsageError as error:
        return trial.model_copy(update={"error": str(error)})
    try:
        found, report = judge.judge(method)
    except AlignmentFailedError as error:
        return trial.model_copy(update={"error": str(error), "seconds": round(time.perf_counter() - start, 3)})
    numbers = {"gain": found.gain, "stderr": found.stderr, "margin": found.margin, "cost": found.cost}
    seconds = round(time.perf_counter() - start, 3)
    return trial.model_copy(update={"state": "done", "flags": report.flags, "seconds": seconds, **numbers})


def _summary(trials: Sequence[Trial], tuning: Tuning) -> str:
    """One line on the newest trial and the best so far."""
    newest = trials[-1]
    came_to = f"failed: {newest.error}" if newest.gain is None else f"gain {newest.gain:+.4f} ± {newest.stderr:.4f}"
    setting = ", ".join(f"{name} {newest.settings[name]}" for name in tuning.space.dimensions)
    ranked = any(trial.sure is not None for trial in trials)
    best = f"; best so far trial {best_trial(trials).number + 1}" if ranked else ""
    return f"trial {newest.number + 1} of {tuning.trials}: {setting}: {came_to}{best}"
