"""Turns pydantic's findings into one line that a user can act on."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bench.core.errors import UsageError
from bench.core.suggestions import suggestion

M = TypeVar("M", bound=BaseModel)


def validated(cls: type[M], settings: Mapping[str, Any], where: str) -> M:
    """An instance of `cls` made from `settings`.

    Arguments:
        cls: a pydantic model that forbids unknown keys.
        settings: what the user wrote.
        where: what the settings belong to, for the message, e.g. "configs/mine.yaml: methods.dpo".

    Raises:
        UsageError: names the first key at fault, what was found there and what is allowed.
    """
    try:
        return cls.model_validate(settings)
    except ValidationError as error:
        raise UsageError(_explanation(cls, error, where)) from error


def _explanation(cls: type[BaseModel], error: ValidationError, where: str) -> str:
    """One sentence for the first of pydantic's findings, and how many more there are."""
    first, *others = error.errors(include_url=False)
    location = _location(cls, where, first["loc"])
    more = f" ({len(others)} more)" if others else ""
    if first["type"] == "extra_forbidden":
        fields = sorted(_fields_at(cls, first["loc"][:-1]))
        name = str(first["loc"][-1])
        close = suggestion("setting", name, fields)
        hint = f"did you mean '{close}'? " if close else ""
        return f"unknown key {location}; {hint}known here: {', '.join(fields)}{more}"
    if first["type"] == "missing":
        return f"{location} is missing{more}"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = message.replace("valid tuple", "list").replace("valid dictionary", "mapping of settings")
    if not first["loc"]:
        return f"{location}: {message}{more}"  # of several settings together, which it names
    return f"{location}: {message}; found {first['input']!r}{more}"


def _location(cls: type[BaseModel], where: str, path: Sequence[int | str]) -> str:
    """`methods.dpo.beta` or `mine.yaml: noise.rates.0`, without pydantic's names for the branches of a union."""
    named = [str(part) for part in path if isinstance(part, int) or str(part).isidentifier()]
    inside = ".".join(named)
    if not where or not inside:
        return where or inside
    return f"{where}: {inside}" if where.endswith((".yaml", ".yml")) else f"{where}.{inside}"


def _fields_at(cls: type[BaseModel], path: Sequence[int | str]) -> Sequence[str]:
    """The field names of the model that `path` leads to from `cls`."""
    for part in path:
        annotation = cls.model_fields[str(part)].annotation if str(part) in cls.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        cls = annotation
    return [name for name, field in cls.model_fields.items() if not field.exclude]  # others are not to be set
