"""Which hyperparameters `bench tune` varies and between what: a table for our methods, a YAML file for any other."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from bench.core.errors import UsageError
from bench.core.files import require_file
from bench.core.hashing import sha256_json
from bench.core.values import Value
from bench.methods.base import AlignmentMethod
from bench.methods.projection.layers import blocks, describe
from bench.spec.messages import validated
from bench.spec.run_spec import read_yaml

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Parameters = Mapping[str, Any]
"""A point as the sampler sees it: one number for each of its distributions."""

CONTIGUOUS = "contiguous"
"""What a space file says for any contiguous stretch of the model's blocks."""
DIGITS = 3
"""Significant digits of a proposed number: more would say nothing, and make a configuration hard to read."""


class Span(Value):
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False
    """Draw evenly between powers of ten."""
    int: bool = False
    """Whole numbers only."""

    @model_validator(mode="after")
    def _check(self) -> Span:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low above 0, which is {self.low:g}")
        if self.int and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(f"int needs whole numbers, not {self.low:g} to {self.high:g}")
        return self

    def distributions(self, name: str) -> dict[str, BaseDistribution]:
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.int:
            return {name: IntDistribution(int(self.low), int(self.high), log=self.log)}
        return {name: FloatDistribution(self.low, self.high, log=self.log)}

    def value(self, name: str, parameters: Parameters) -> Any:
        drawn = parameters[name]
        return drawn if self.int else min(max(float(f"{drawn:.{DIGITS}g}"), self.low), self.high)

    def locate(self, name: str, value: Any) -> dict[str, Any] | None:
        if not isinstance(value, float | int) or not self.low <= value <= self.high:
            return None
        return None if self.int and value != int(value) else {name: int(value) if self.int else float(value)}

    def samples(self) -> Sequence[Any]:
        if self.int:
            return int(self.low), int(self.high)
        return self.low, self.low + (self.high - self.low) / math.pi, self.high  # the second one is never whole


class Choices(Value):
    """Two or more values, in no order."""

    values: tuple[Any, ...] = Field(min_length=2)

    def distributions(self, name: str) -> dict[str, BaseDistribution]:
        from optuna.distributions import CategoricalDistribution

        return {name: CategoricalDistribution(range(len(self.values)))}  # positions: values may be lists

    def value(self, name: str, parameters: Parameters) -> Any:
        return self.values[parameters[name]]

    def locate(self, name: str, value: Any) -> dict[str, Any] | None:
        return {name: self.values.index(value)} if value in self.values else None

    def samples(self) -> Sequence[Any]:
        return self.values


class Stretch(Value):
    """Contiguous stretches of a model's blocks; every length is as likely as its double."""

    n_blocks: int = 1

    def distributions(self, name: str) -> dict[str, BaseDistribution]:
        from optuna.distributions import IntDistribution

        first, count = self._names(name)
        return {first: IntDistribution(0, self.n_blocks - 1), count: IntDistribution(1, self.n_blocks, log=True)}

    def value(self, name: str, parameters: Parameters) -> Any:
        first, count = (parameters[part] for part in self._names(name))
        return describe(range(first, min(first + count, self.n_blocks)))

    def locate(self, name: str, value: Any) -> dict[str, Any] | None:
        if value == "cv":
            return None
        numbers = blocks(value, self.n_blocks)
        if numbers != tuple(range(numbers[0], numbers[-1] + 1)):
            return None
        return dict(zip(self._names(name), (numbers[0], len(numbers)), strict=True))

    def samples(self) -> Sequence[Any]:
        return ("0",)

    @staticmethod
    def _names(name: str) -> tuple[str, str]:
        return f"{name}.first", f"{name}.count"


Dimension = Span | Choices | Stretch
"""The values that one hyperparameter may take.

`distributions` is what the sampler draws for the hyperparameter `name`, `value` what its numbers stand for, as a
configuration would write it, and `locate` the numbers for a validated hyperparameter, None where it lies outside.
`samples` are values that show whether the method allows what is in here.
"""


@dataclass(frozen=True)
class SearchSpace:
    """The hyperparameters of one method that are varied."""

    dimensions: Mapping[str, Dimension]

    def sized(self, n_blocks: int) -> SearchSpace:
        """The same for a model of `n_blocks`."""
        return SearchSpace(
            {
                name: Stretch(n_blocks=n_blocks) if isinstance(dimension, Stretch) else dimension
                for name, dimension in self.dimensions.items()
            }
        )

    def settings(self, parameters: Parameters) -> dict[str, Any]:
        """The hyperparameters at a point."""
        return {name: dimension.value(name, parameters) for name, dimension in self.dimensions.items()}

    def locate(self, method: AlignmentMethod) -> dict[str, Any] | None:
        """Where a method's hyperparameters lie; None where one of them lies outside.

        Raises:
            UsageError: it names blocks that the model does not have.
        """
        location: dict[str, Any] = {}
        for name, dimension in self.dimensions.items():
            parameters = dimension.locate(name, getattr(method, name))
            if parameters is None:
                return None
            location |= parameters
        return location

    def distributions(self) -> dict[str, BaseDistribution]:
        """What the sampler draws of all hyperparameters."""
        return {key: value for name, one in self.dimensions.items() for key, value in one.distributions(name).items()}

    def plain(self) -> dict[str, Any]:
        """The space as JSON."""
        return {name: dimension.model_dump(mode="json") for name, dimension in self.dimensions.items()}

    def propose(self, tried: Sequence[tuple[Parameters, float]], number: int, seed: int) -> Parameters:
        """Where to look next, by optuna's TPE sampler. The same question always gets the same answer.

        Arguments:
            tried: points and what they came to, more being better.
            number: of this proposal among all, so that those after an interruption go on and do not begin anew.
            seed: of the search.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        own_seed = int(sha256_json([seed, number])[:8], 16)
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=own_seed))
        distributions = self.distributions()
        for parameters, gain in tried:
            study.add_trial(optuna.trial.create_trial(params=dict(parameters), distributions=distributions, value=gain))
        proposed: Parameters = study.ask(distributions).params
        return proposed


def default_space(
    kind: str, method: type[AlignmentMethod], settings: Mapping[str, Any], fixed: Collection[str]
) -> SearchSpace:
    """What is varied of a method known here.

    Arguments:
        kind: the method's name.
        method: its class.
        settings: the hyperparameters that it has otherwise.
        fixed: those that are not to be varied.

    Raises:
        UsageError: nothing is known of the method, or nothing is left to vary.
    """
    if kind not in SPACES:
        raise UsageError(
            f"no search space is known for '{kind}' (known: {', '.join(SPACES)}); say what to vary with "
            "--space FILE.yaml, e.g. `rank: {low: 1, high: 20, int: true}`"
        )
    whole = validated(method, settings, f"methods.{kind}")  # with what a preset sets
    idle = {
        "lora_rank": getattr(whole, "tuning", None) == "full",
        "epochs": getattr(whole, "max_steps", None) is not None,
    }
    left = {
        name: dimension
        for name, dimension in SPACES[kind].items()
        if name in method.model_fields and name not in fixed and not idle.get(name, False)
    }
    if not left:
        raise UsageError(f"--set fixes everything that is varied of {kind} ({', '.join(SPACES[kind])}); fix less")
    return SearchSpace(left)


def read_space(path: Path) -> SearchSpace:
    """The space in a YAML file: hyperparameter to a list of values, `contiguous`, or low, high, log and int.

    Raises:
        UsageError: names the file and the entry at fault.
    """
    require_file(path, "space file", "give a YAML file with a list of values for each hyperparameter")
    entries = read_yaml(path)
    if not entries:
        raise UsageError(f"{path} names nothing to vary")
    return SearchSpace({str(name): _dimension(entry, f"{path}: {name}") for name, entry in entries.items()})


def _dimension(entry: Any, where: str) -> Dimension:
    if entry == CONTIGUOUS:
        return Stretch()
    if isinstance(entry, Mapping):
        return validated(Span, entry, where)
    if not isinstance(entry, list):
        raise UsageError(
            f"{where}: give a list of values, {{low: …, high: …, log: …, int: …}}, or {CONTIGUOUS} for layers; "
            f"found {entry!r}"
        )
    if len(entry) < 2:
        raise UsageError(f"{where}: a list to choose from needs two values or more; fix a single one with --set")
    return Choices(values=entry)


def check_space(space: SearchSpace, method: type[AlignmentMethod], fixed: Mapping[str, Any], where: str) -> None:
    """Refuse a space in which the method would not allow something.

    Raises:
        UsageError: names the hyperparameter and the value that the method does not allow.
    """
    samples = {name: dimension.samples() for name, dimension in space.dimensions.items()}
    first = {name: values[0] for name, values in samples.items()}
    for name, values in samples.items():
        for value in values:
            validated(method, {**fixed, **first, name: value}, where)


SPACES: Mapping[str, Mapping[str, Dimension]] = {
    kind: {name: _dimension(entry, f"{kind}: {name}") for name, entry in entries.items()}
    for kind, entries in read_yaml(Path(__file__).with_name("spaces.yaml")).items()
}
"""What is varied where no file says otherwise; fields that a method does not have are left out."""
