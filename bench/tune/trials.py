"""What `bench tune` tried: one JSON file that is whole after every trial, so that a search can stop at any time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, ValidationError

from bench.core.errors import BenchError, UsageError
from bench.core.files import write_json
from bench.core.values import Value
from bench.methods.pairs.gain import ONE_SIDED_95


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
    flags: tuple[str, ...] = ()
    """The alignment's own warnings."""
    seconds: NonNegativeFloat = 0.0
    """Spent on it, loading the model included."""
    error: str | None = None

    @property
    def proven(self) -> bool:
        """Whether its gain is more than chance would give a single trial."""
        return self.sure is not None and self.sure > 0

    @property
    def sure(self) -> float | None:
        """What its gain is at least, one-sided 95 % of the time; None where it failed.

        Trials are ranked by this: damage has heavy tails, and the greatest mean gain may be luck.
        """
        return None if self.gain is None or self.stderr is None else self.gain - ONE_SIDED_95 * self.stderr


@dataclass(frozen=True)
class TrialFile:
    """The trials of one search, in a file that says which search it was."""

    path: Path
    search: Mapping[str, Any]
    """Everything that a trial's numbers depend on besides its settings, as JSON."""

    def read(self) -> list[Trial]:
        """The trials so far; none where there is no file.

        Raises:
            UsageError: the file belongs to another search; says in what.
            BenchError: it cannot be read.
        """
        if not self.path.exists():
            return []
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            trials = [Trial.model_validate(trial) for trial in found["trials"]]
            other = _first_difference(found["search"], self.search)
        except (OSError, ValueError, ValidationError, KeyError, TypeError) as error:
            raise BenchError(f"{self.path} is not a file of trials ({error}); move it away") from error
        if other is not None:
            raise UsageError(f"{self.path} holds trials of another search ({other}); choose another --out")
        return trials

    def write(self, trials: Sequence[Trial]) -> None:
        """Replace the file, adding the last of `trials` to those that it holds.

        Raises:
            BenchError: somebody else has added to it meanwhile.
        """
        if len(self.read()) != len(trials) - 1:
            raise BenchError(f"{self.path} was written by another search meanwhile; run one at a time in a directory")
        spent = {"trials": len(trials), "seconds": round(sum(trial.seconds for trial in trials), 1)}
        rows = [trial.model_dump(mode="json") for trial in trials]
        write_json(self.path, {"search": self.search, "spent": spent, "trials": rows})


def best_trial(trials: Sequence[Trial]) -> Trial:
    """The one with the surest gain; of equals the first.

    Raises:
        BenchError: none succeeded; says why the last one did not.
    """
    done = [(trial.sure, trial) for trial in trials if trial.sure is not None]
    if not done:
        raise BenchError(f"none of {len(trials)} trials succeeded; the last one: {trials[-1].error}")
    return max(done, key=lambda pair: pair[0])[1]


def _first_difference(found: Any, expected: Any, place: str = "") -> str | None:
    """Where two JSON values differ and what stands there, `found` first; None where they are the same."""
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        inner = (
            _first_difference(found.get(key), expected.get(key), f"{place}.{key}" if place else str(key))
            for key in dict.fromkeys([*expected, *found])
        )
        return next((difference for difference in inner if difference is not None), None)
    return None if found == expected else f"{place} is {found!r} there and {expected!r} here"
