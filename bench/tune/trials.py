"""What `bench tune` tried, kept by optuna's journal after every trial, so that a search can stop at any time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import NonNegativeFloat, NonNegativeInt

from bench.core.errors import BenchError, UsageError
from bench.core.values import Value
from bench.methods.pairs.gain import ONE_SIDED_95

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution


class Trial(Value):
    """One setting of a method and what it came to on the validation share."""

    number: NonNegativeInt
    """From 0; the first is the method as it was configured, wherever the space lies."""
    state: Literal["done", "failed", "repeated"]
    """`repeated`: the same hyperparameters as an earlier trial, whose numbers were taken over."""
    settings: Mapping[str, Any]
    """Of the method's row, as a configuration would write them."""
    method: Mapping[str, Any] | None = None
    """All hyperparameters, defaults included; None where the method does not allow the settings."""
    parameters: Mapping[str, Any] | None = None
    """The sampler's numbers; None for a setting outside the space."""
    gain: float | None = None
    """Mean fall of the held-out DPO loss, in nats a pair."""
    stderr: float | None = None
    margin: float | None = None
    """Mean rise of log p(chosen) - log p(rejected), in nats."""
    cost: float | None = None
    """Mean fall of a held-out completion's log-probability, in nats a token."""
    perplexity_rise: float | None = None
    """Share by which perplexity on neutral texts rose; None where it had no bound."""
    over_bound: bool = False
    """Whether that was more than was allowed, so that the setting cannot win."""
    flags: tuple[str, ...] = ()
    """The alignment's own warnings."""
    seconds: NonNegativeFloat = 0.0
    """Spent on it, loading the model included."""
    error: str | None = None

    @property
    def gain_text(self) -> str:
        """Its gain with its standard error; only where it has one."""
        return f"{self.gain:+.4f} ± {self.stderr:.4f}"

    @property
    def proven(self) -> bool:
        """Whether its gain is more than chance would give a single trial."""
        return self.sure is not None and self.sure > 0

    @property
    def sure(self) -> float | None:
        """What its gain is at least, one-sided 95 % of the time; None where it failed or is over the bound.

        Trials are ranked by this: damage has heavy tails, and the greatest mean gain may be luck.
        """
        if self.gain is None or self.stderr is None or self.over_bound:
            return None
        return self.gain - ONE_SIDED_95 * self.stderr

    @property
    def score(self) -> float | None:
        """What the sampler learns from: below every gain where over the bound, by how far; None where it failed."""
        if self.over_bound and self.perplexity_rise is not None:
            return -1e3 - min(self.perplexity_rise, 1e3)
        return self.sure


@dataclass(frozen=True)
class TrialJournal:
    """The trials of one search as an optuna study in a file, to which each adds one line that is whole or not there."""

    folder: Path
    search: Mapping[str, Any]
    """Everything that a trial's numbers depend on besides its settings, as JSON."""
    distributions: Mapping[str, BaseDistribution]
    """What the sampler draws from."""

    @property
    def path(self) -> Path:
        return self.folder / "trials.journal"

    def read(self) -> list[Trial]:
        """The trials so far; none where there is no file.

        Raises:
            UsageError: they belong to another search; says in what. Or an earlier version left its own file of trials.
            BenchError: the file cannot be read.
        """
        earlier = self.folder / "trials.json"
        if earlier.exists():
            raise UsageError(
                f"{earlier} holds trials that an earlier version of alignment-bench made, with other code; choose "
                "another --out, or move it away to begin anew"
            )
        if not self.path.exists():
            return []
        try:
            study = self._study()
            rows = study.get_trials(deepcopy=False)
            trials = [Trial.model_validate({**row.user_attrs, "number": row.number}) for row in rows]
            other = _first_difference(study.user_attrs["search"], self.search) if trials else None
        except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
            raise BenchError(f"{self.path} is not a file of trials ({error}); move it away") from error
        if other is not None:
            raise UsageError(f"{self.path} holds trials of another search ({other}); choose another --out")
        return trials

    def append(self, trial: Trial) -> None:
        """Add a trial to those that the file holds.

        Raises:
            BenchError: somebody else has added to it meanwhile; nothing of theirs is lost.
        """
        from optuna.trial import TrialState, create_trial

        if len(self.read()) == trial.number:
            self.folder.mkdir(parents=True, exist_ok=True)
            study = self._study()
            if not trial.number:
                study.set_user_attr("search", self.search)
            study.add_trial(
                create_trial(
                    state=TrialState.FAIL if trial.score is None else TrialState.COMPLETE,
                    value=trial.score,
                    params=dict(trial.parameters or {}),
                    distributions=dict(self.distributions) if trial.parameters else {},
                    user_attrs=trial.model_dump(mode="json", exclude={"number"}),
                )
            )
            if len(self.read()) == trial.number + 1:
                return
        raise BenchError(f"{self.path} was written by another search meanwhile; run one at a time in a directory")

    def _study(self) -> Study:
        """The study in the file, which is made if it is not there."""
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        lock = JournalFileOpenLock(str(self.path))
        backend = JournalFileBackend(str(self.path), lock_obj=lock)
        lock.acquire()
        try:  # a line that a killed process left half-written would spoil the next one
            os.truncate(self.path, self.path.read_bytes().rfind(b"\n") + 1)
        finally:
            lock.release()
        storage = optuna.storages.JournalStorage(backend)
        if optuna.get_all_study_names(storage):
            return optuna.load_study(study_name=None, storage=storage)
        return optuna.create_study(storage=storage, study_name="tune", direction="maximize", load_if_exists=True)


def best_trial(trials: Sequence[Trial]) -> Trial:
    """The one with the surest gain; of equals the first.

    Raises:
        BenchError: none succeeded or all are over the bound; says why the last one did not, or the least rise.
    """
    done = [(trial.sure, trial) for trial in trials if trial.sure is not None]
    rises = [trial.perplexity_rise for trial in trials if trial.over_bound and trial.perplexity_rise is not None]
    if rises and not done:
        raise BenchError(
            f"no trial of {len(trials)} stays within the bound on perplexity; the least rise was {min(rises):.1%}. Try "
            "more --trials, gentler settings in --space, or a higher --max-perplexity-rise"
        )
    if not done:
        raise BenchError(f"none of {len(trials)} trials succeeded; the last one: {trials[-1].error}")
    return max(done, key=lambda pair: pair[0])[1]


def _first_difference(stored: Any, expected: Any, key_path: str = "") -> str | None:
    """Where two JSON values differ and what stands there, `stored` first; None where they are the same."""
    if isinstance(stored, Mapping) and isinstance(expected, Mapping):
        inner = (
            _first_difference(stored.get(key), expected.get(key), f"{key_path}.{key}" if key_path else str(key))
            for key in dict.fromkeys([*expected, *stored])
        )
        return next(filter(None, inner), None)
    return None if stored == expected else f"{key_path} is {stored!r} there and {expected!r} here"
