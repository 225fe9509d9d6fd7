"""From a command line to a search: one row of a configuration, checked before anything is loaded."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import UsageError
from bench.core.registry import unknown
from bench.core.values import BASE
from bench.methods.base import METHODS
from bench.spec.messages import validated
from bench.spec.overrides import assign, parse_assignment
from bench.spec.resolve import Assignment, resolve_spec
from bench.spec.run_spec import RunSpec, find_config, hyperparameters, read_yaml, stated_tuning
from bench.spec.tuned_rows import without_foreign_tuning
from bench.tune.search import Tuning
from bench.tune.space import SearchSpace, check_space, default_space, read_space


def resolve_tuning(
    row: str,
    config: str | None,
    *,
    flags: Sequence[Assignment] = (),
    assignments: Sequence[str] = (),
    space_file: Path | None = None,
    trials: int,
    validation: float,
    max_perplexity_rise: float | None = None,
    out: Path | None = None,
) -> Tuning:
    """The search that a command line asks for.

    Arguments:
        row: a row of the configuration's methods, or a registered method that has none there.
        config: path or shipped name of a YAML file; None for the quickstart.
        flags: places in the spec and what to put there.
        assignments: `key=value` texts of --set; the hyperparameters among them are fixed.
        space_file: what to vary, instead of what is varied by default.
        trials: how many to spend.
        validation: share of the training pairs to judge by.
        max_perplexity_rise: share by which perplexity on neutral texts may rise, such as 0.05; None: no bound.
        out: the search's directory; runs/tune/ROW where none is given.

    Raises:
        UsageError: says what was found and what to do.
    """
    out = out or Path("runs/tune") / row
    spec, written = _resolved(row, config, flags, assignments, out)
    settings = spec.methods[row]
    kind = str(settings.get("use", row))
    method = METHODS[kind]
    if kind == BASE:
        raise UsageError("the unaligned model has nothing to tune")
    if method.control_of is not None:
        raise UsageError(f"{kind} is a control and takes over the settings of {method.control_of}; tune that one")
    several = {"--noise": spec.noise.rates, "--pairs": spec.pairs.sizes, "--seed": spec.seeds}
    for flag, values in several.items():
        if len(values) > 1:
            listed = ", ".join(map(str, values))
            raise UsageError(f"a search has one set of pairs, the configuration several ({listed}); choose with {flag}")
    if not 0 < validation < 1:
        raise UsageError(
            f"--validation is the share of the training pairs to judge by, between 0 and 1; found {validation}"
        )
    if max_perplexity_rise is not None and not 0 < max_perplexity_rise < 100:
        raise UsageError(f"--max-perplexity-rise is a share, such as 0.05 for 5 %; found {max_perplexity_rise:g}")
    configured = hyperparameters(settings)
    validated(method, configured, f"methods.{row}")
    stated_tuning(spec, row)
    key_paths = [parse_assignment(text)[0] for text in assignments]
    fixed = {key_path[2] for key_path in key_paths if len(key_path) > 2 and key_path[:2] == ["methods", row]}
    space = _space(row, kind, configured, fixed, space_file)
    return Tuning(
        spec=spec.model_copy(update={"methods": {row: settings}}),
        written=written,
        row=row,
        kind=kind,
        method=method,
        configured=configured,
        space=space,
        trials=trials,
        validation=validation,
        max_perplexity_rise=max_perplexity_rise,
        out=out,
    )


def _space(
    row: str, kind: str, configured: Mapping[str, Any], fixed: Collection[str], file: Path | None
) -> SearchSpace:
    """What is varied, all of which the method allows.

    Raises:
        UsageError: it does not, or what is to be varied is fixed.
    """
    method = METHODS[kind]
    space = default_space(kind, method, configured, fixed) if file is None else read_space(file)
    both = ", ".join(name for name in space.dimensions if name in fixed)
    if both:
        raise UsageError(f"{file} varies {both}, which --set fixes; leave it out of one of them")
    rest = {name: value for name, value in configured.items() if name not in space.dimensions}
    check_space(space, method, rest, f"methods.{row}" if file is None else str(file))
    return space


def _resolved(
    row: str, config: str | None, flags: Sequence[Assignment], assignments: Sequence[str], out: Path
) -> tuple[RunSpec, dict[str, Any]]:
    """The spec with a row for the method, and the configuration that the winner is put into: with what the command line
    changes, but not completed, as controls that have no settings of their own are to take over the winner's."""
    path = find_config(config)
    settings = read_yaml(path)
    methods = validated(RunSpec, settings, str(path)).methods
    if row not in methods and row not in METHODS:
        raise unknown("method", row, [*METHODS, *methods])
    added: list[Assignment] = [] if row in methods else [(["methods", row], {})]
    spec = resolve_spec(config, flags=[*flags, *added], assignments=assignments)
    for key_path, value in [*flags, *map(parse_assignment, assignments)]:
        settings = assign(settings, key_path, value)
    rows, _ = without_foreign_tuning(spec.written, spec.model, spec.pairs)
    changed = {"methods": {name: dict(rows[name]) for name in spec.methods}, "tasks": dict(spec.tasks)}
    # A directory of its own: what ran with the configuration that the search began with stays apart.
    return spec, {**settings, **changed, "out": str(out / "run")}
