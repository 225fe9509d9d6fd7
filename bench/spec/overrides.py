"""Settings from flags, laid over settings from a file."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from bench.core.errors import UsageError


def parse_assignment(text: str) -> tuple[list[str], Any]:
    """The path and the value in `a.b=value`; the value is read as YAML, so 2 is a number and [1, 2] a list.

    A `#` begins no comment: it may stand in a file's name.

    Raises:
        UsageError: no `=`, an empty key, or a value that is not YAML.
    """
    key, separator, value = text.partition("=")
    path = key.strip().split(".")
    if not separator or not all(path):
        raise UsageError(f"--set takes key=value, e.g. methods.dpo.learning_rate=5e-5; found '{text}'")
    try:
        parsed = yaml.safe_load(value)
        is_plain_text = isinstance(parsed, str) and value.strip()[0] not in "'\""
        return path, value.strip() if "#" in value and (is_plain_text or parsed is None) else parsed
    except yaml.YAMLError as error:
        raise UsageError(f"--set {key}: the value is not YAML: {value!r}") from error


def assign(settings: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy of `settings` in which the place that `path` names holds `value`.

    Raises:
        UsageError: the path leads through something that is not a mapping.
    """
    head, *rest = path
    if not rest:
        return {**settings, head: value}
    inner = settings.get(head)
    if inner is not None and not isinstance(inner, Mapping):
        raise UsageError(f"cannot set {'.'.join(path)}: '{head}' holds {inner!r}, not settings of its own")
    return {**settings, head: assign(inner or {}, rest, value)}


def split_list(text: str, flag: str) -> list[str]:
    """The parts of `a,b` or `a b`.

    Raises:
        UsageError: there is none, or one stands there twice.
    """
    parts = text.replace(",", " ").split()
    if not parts:
        raise UsageError(f"{flag} is empty; give one or more, separated by commas")
    if len(set(parts)) != len(parts):
        raise UsageError(f"{flag} names something twice: {text}")
    return parts


def split_numbers(text: str, flag: str) -> list[float]:
    """The numbers in `0,0.3`.

    Raises:
        UsageError: a part is not a number; says which.
    """
    numbers = []
    for part in split_list(text, flag):
        try:
            numbers.append(float(part))
        except ValueError as error:
            raise UsageError(f"{flag} takes numbers separated by commas; found '{part}'") from error
    return numbers


def split_integers(text: str, flag: str) -> list[int]:
    """The whole numbers in `50,100`.

    Raises:
        UsageError: a part is not a whole number; says which.
    """
    numbers = split_numbers(text, flag)
    for number in numbers:
        if not number.is_integer():
            raise UsageError(f"{flag} takes whole numbers separated by commas; found '{number}'")
    return [int(number) for number in numbers]


def distinct_parts(text: str) -> list[str]:
    """The parts of `a,b` or `a b`, each once."""
    return list(dict.fromkeys(text.replace(",", " ").split()))


def parse_seeds(text: str, flag: str) -> list[int]:
    """Seeds: a number alone says how many, so that `3` is 0, 1, 2; with a comma, as in `0,7` or `3,`, they are named.
    `0` is seed 0.

    Raises:
        UsageError: a part is not a whole number; says which.
    """
    seeds = split_integers(",".join(distinct_parts(text)), flag)
    is_count = len(seeds) == 1 and "," not in text and seeds[0] > 0
    return list(range(seeds[0])) if is_count else seeds
