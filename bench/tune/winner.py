"""The winner of a search, as a configuration that says how it was found."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.core.files import write_atomic
from bench.leaderboard.records.ledger import TuningNote
from bench.spec.overrides import assign
from bench.spec.run_spec import PairsSpec
from bench.spec.tuned_rows import pairs_fingerprint
from bench.tune.trials import Trial, best_trial


def write_best(
    path: Path, written: Mapping[str, Any], row: str, kind: str, trials: Sequence[Trial], search: Mapping[str, Any]
) -> Path:
    """Put the best trial's settings into a configuration, and how they were found above it.

    Arguments:
        path: where to.
        written: the configuration, as it was written.
        row: the method's row in it.
        kind: the method's registered name.
        trials: all that were spent.
        search: what their numbers depend on, as in the file of trials.
    """
    best = best_trial(trials)
    tuned = {"tuned": _tuned(written, row, trials, search)}
    settings = {**({"use": kind} if kind != row else {}), **best.settings, **tuned}
    config = assign(written, ["methods", row], settings)
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    lines = [
        line
        for sentence in describe_search(row, trials, search)
        for line in textwrap.wrap(sentence, 116, break_on_hyphens=False, break_long_words=False)
    ]
    write_atomic(path, "".join(f"# {line}\n" for line in lines) + text)
    return path


def _tuned(written: Mapping[str, Any], row: str, trials: Sequence[Trial], search: Mapping[str, Any]) -> dict[str, Any]:
    """What the row says of its own tuning from now on; an earlier search, which this one started from, is added up."""
    best = best_trial(trials)
    earlier = TuningNote.model_validate(written["methods"][row].get("tuned") or {"trials": 0, "seconds": 0.0})
    pairs = PairsSpec.model_validate(written.get("pairs") or {})
    seconds = sum(trial.seconds for trial in trials)
    tuned = TuningNote(
        trials=(earlier.trials or 0) + len(trials),
        seconds=None if earlier.seconds is None else round(earlier.seconds + seconds, 1),
        gain=best.gain,
        stderr=best.stderr,
        criterion=search["criterion"]["name"],
        validation_pairs=search["validation"]["pairs"],
        noise=search["data"]["noise"]["rate"],
        model=search["model"]["locator"],
        model_fingerprint=search["model"]["fingerprint"],
        pairs=pairs.source,
        pairs_fingerprint=pairs_fingerprint(pairs),
        max_perplexity_rise=search.get("perplexity_bound", {}).get("most"),
        perplexity_rise=best.perplexity_rise,
    )
    return tuned.model_dump(mode="json", exclude_none=True)


def describe_search(row: str, trials: Sequence[Trial], search: Mapping[str, Any]) -> list[str]:
    """How a setting was found and how far it is to be trusted, in sentences."""
    best, configured = best_trial(trials), trials[0]
    data, noise, validation = search["data"], search["data"]["noise"], search["validation"]
    seconds = sum(trial.seconds for trial in trials)
    states = [trial.state for trial in trials]
    others = "".join(f", {states.count(state)} {state}" for state in ("failed", "repeated") if state in states)
    before = f"failed ({configured.error})" if configured.gain is None else configured.gain_text
    won = f"Trial {best.number + 1} won with {best.gain_text}; the settings as they were before: {before}."
    if best is configured:
        won = f"Nothing beat the settings as they were before, with {before}."
    sentences = [
        f"`{row}` tuned by bench tune: {len(trials)} trials{others}, {seconds:.0f} s.",
        f"Criterion: {search['criterion']['name']}, beta {search['criterion']['beta']:g}. {won} The best of several "
        "trials looks better than it is.",
        f"Judged by {validation['pairs']} of {data['pairs']} training pairs, whole prompts, noise and all "
        f"({noise['model']} {noise['rate']:g}, seed {data['seed']}), which the trials were not aligned with. "
        "No clean pair and no evaluation prompt was used.",
    ]
    if "perplexity_bound" in search:
        bound, over = search["perplexity_bound"], sum(trial.over_bound for trial in trials)
        sentences.append(
            f"Only settings that raise perplexity on {bound['source']} by at most {bound['most']:.1%} could win; "
            f"{over} of {len(trials)} trials raise it by more. The winner's rise: {best.perplexity_rise:+.1%}."
        )
    return [*sentences, UNPROVEN] if not best.proven else sentences


UNPROVEN = (
    "NOT PROVEN: the winner's gain is within 1.645 standard errors of none. On these pairs no setting is known to do "
    "better than leaving the model alone."
)
