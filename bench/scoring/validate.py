"""Measures toxicity scorers against published scores of toxic prompts and against prose that is taken to be clean."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import combinations, pairwise
from typing import Any

from bench.core.code_version import code_version
from bench.core.errors import BenchError, UsageError
from bench.core.intervals import Interval, bootstrap_mean
from bench.core.progress import Progress
from bench.core.store.cache import writing
from bench.leaderboard.records.validation import (
    Band,
    Coverage,
    ErrorEstimate,
    Share,
    Validation,
    read_validation,
    validation_home,
    validation_path,
    write_validation,
)
from bench.leaderboard.statistics.agreement import (
    Level,
    auc,
    calibration_bins,
    calibration_error,
    counted_share,
    krippendorff_alpha,
    spearman,
)
from bench.scoring.reference import THRESHOLD, Reference, read_reference
from bench.spec.overrides import parse_assignment
from bench.tasks.scorers.base import HUB, SCORERS, Scorer, build_scorer, scorer_identity
from bench.tasks.scorers.scoring import Scored, check_scored, score_texts

PERSPECTIVE = "Perspective"
BANDS = (THRESHOLD, 0.75, 0.9, 1.0)
"""Limits of the published scores among which sensitivity is told apart."""
ALL, TOXIC = "prompts and prose", "prompts"
Scores = Sequence[float | None]


@dataclass(frozen=True)
class Candidate:
    """A scorer that is to be measured."""

    label: str
    scorer: Scorer
    identity: Mapping[str, Any]


@dataclass(frozen=True)
class ScorerAgreement:
    """How far raters agree on texts that two or more of them rated."""

    raters: tuple[str, ...]
    texts: str
    """`ALL` or `TOXIC`."""
    same: ErrorEstimate | None
    """Share of texts that two raters both call toxic, or both do not; None for more than two raters."""
    nominal: ErrorEstimate | None
    """Krippendorff's alpha of calling a text toxic; None where all call all texts the same. As is `interval`."""
    interval: ErrorEstimate | None
    """Krippendorff's alpha of the scores themselves."""


@dataclass(frozen=True)
class ValidationReport:
    """What came of measuring."""

    reference: Mapping[str, Any]
    """What the scorers were measured against, as plain JSON."""
    validations: Sequence[Validation]
    agreements: Sequence[ScorerAgreement]
    unavailable: Mapping[str, str] = field(default_factory=dict)
    """Scorers that nobody asked for by name and that take a download or a setting, with what it takes."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Scorers that were to be measured and could not be, with why."""


def validate_scorers(
    names: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]],
    progress: Progress,
    *,
    again: bool = False,
) -> ValidationReport:
    """Measure scorers, or take over what was measured before, and how far they agree.

    Arguments:
        names: scorers; what they need is downloaded. Empty for all that need no download.
        settings: fields of the scorers, by name.
        again: measure also what was measured before.

    Raises:
        UsageError: no such scorer or setting.
        BenchError: the reference texts cannot be had, or a measurement cannot be kept.
    """
    candidates, unavailable, failed = _candidates(names, settings)
    reference = read_reference(progress)
    conditions = {**reference.identity(), "code": code_version(__name__)}
    validations: list[Validation] = []
    with progress.track("validate scorers", len(candidates)) as advance:
        for candidate in candidates:
            try:
                earlier = None if again else _measured_before(candidate, conditions, progress)
                validation = earlier or measure_scorer(candidate, reference, conditions, progress)
            except BenchError as error:
                failed[candidate.label] = str(error)
            except Exception as error:  # a scorer may be anyone's: whatever it raises, the others are still measured
                failed[candidate.label] = f"{type(error).__name__}: {error}"
            else:
                with writing(validation_home()):
                    write_validation(validation, validation_home())
                validations.append(validation)
            advance(1)
    with progress.track("agreement", None):
        agreements = agreements_of(validations, reference)
    return ValidationReport(conditions, validations, agreements, unavailable, failed)


def measure_scorer(
    candidate: Candidate, reference: Reference, conditions: Mapping[str, Any], progress: Progress
) -> Validation:
    """Score the reference texts and say how well the scores tell toxic from clean.

    Arguments:
        conditions: what the measurement depends on besides the scorer, as plain JSON.

    Raises:
        BenchError: the scorer cannot be had, or fails on more than 1 % of the texts.
    """
    candidate.scorer.prepare(progress)
    scored = score_texts(candidate.scorer, reference.texts, progress)
    check_scored(scored, reference.texts)
    cut = len(reference.prompts)
    rows = [(score, truth) for score, truth in zip(scored.scores, reference.truth, strict=True) if score is not None]
    scores, truth = [score for score, _ in rows], [toxic for _, toxic in rows]
    both = 0 < sum(truth) < len(truth)
    bins = calibration_bins(scores, truth) if both else []
    return Validation(
        scorer=candidate.label,
        identity=candidate.identity,
        reference=conditions,
        threshold=THRESHOLD,
        prompts=_coverage(scored, range(cut)),
        prose=_coverage(scored, range(cut, len(scored.scores))),
        auc=_estimate(auc(scores, truth)) if both else None,
        spearman=_rank_correlation(scored.scores[:cut], reference.perspective),
        brier=_estimate(bootstrap_mean([(score - toxic) ** 2 for score, toxic in rows])) if both else None,
        calibration_error=calibration_error(bins) if both else None,
        calibration=tuple(bins),
        sensitivity=_share([score >= THRESHOLD for score, toxic in rows if toxic]),
        sensitivity_by_score=tuple(_bands(scored.scores[:cut], reference.perspective)),
        specificity=_share([score < THRESHOLD for score, toxic in rows if not toxic]),
        prompt_scores=tuple(scored.scores[:cut]),
        prose_scores=tuple(scored.scores[cut:]),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def agreements_of(validations: Sequence[Validation], reference: Reference) -> list[ScorerAgreement]:
    """How far each two scorers agree, and all where there are more; and each with Perspective on the prompts, the only
    texts of which its scores are known."""
    groups = [*combinations(validations, 2), *([tuple(validations)] if len(validations) > 2 else [])]
    agreements = []
    for group in groups:
        names = tuple(validation.scorer for validation in group)
        on_prompts = [validation.prompt_scores for validation in group]
        on_all = [validation.prompt_scores + validation.prose_scores for validation in group]
        strata = [0] * len(reference.prompts) + [1] * len(reference.prose)
        agreements += [_agreement(names, ALL, on_all, strata), _agreement(names, TOXIC, on_prompts, None)]
    for validation in validations:
        ratings = [validation.prompt_scores, reference.perspective]
        agreements.append(_agreement((validation.scorer, PERSPECTIVE), TOXIC, ratings, None))
    return agreements


def _candidates(
    names: Sequence[str], settings: Mapping[str, Mapping[str, Any]]
) -> tuple[list[Candidate], dict[str, str], dict[str, str]]:
    """Scorers to measure; those that nobody asked for by name and that are not at hand; those asked for and broken.

    Raises:
        UsageError: no such scorer or setting, or settings for a scorer that is not to be measured.
    """
    wanted = list(dict.fromkeys(names)) or [name for name in SCORERS if f"{name}:" != HUB]
    for name in settings:
        if name not in wanted:
            raise UsageError(f"settings for scorer '{name}', which is not among those to measure: {', '.join(wanted)}")
    candidates: list[Candidate] = []
    unavailable: dict[str, str] = {}
    failed: dict[str, str] = {}
    for name in wanted:
        given = settings.get(name, {})
        try:
            scorer = build_scorer(name, given)
            candidate = Candidate(_label(name, given), scorer, scorer_identity(name, given))
        except ImportError as error:
            (failed if names else unavailable)[name] = f"its code cannot be imported: {error}"
            continue
        except BenchError as error:
            if names and isinstance(error, UsageError):
                raise
            (failed if names else unavailable)[_label(name, given)] = str(error)
            continue
        missing = [] if names else scorer.downloads()
        if missing:
            unavailable[name] = f"takes a download: {'; '.join(missing)}. To have it: bench scorers validate {name}"
        else:
            candidates.append(candidate)
    if not names:
        unavailable["hf"] = f"any sequence classifier, by its name: bench scorers validate {HUB}ORG/NAME#LABEL"
    return candidates, unavailable, failed


def scorer_settings(assignments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Fields by scorer, from `NAME.FIELD=VALUE`; a name may hold dots, a field does not.

    Raises:
        UsageError: one of them is not of that form.
    """
    settings: dict[str, dict[str, Any]] = {}
    for text in assignments:
        (*name, field_name), value = parse_assignment(text)
        if not name:
            raise UsageError(f"--set takes SCORER.FIELD=VALUE, e.g. detoxify.variant=unbiased; found '{text}'")
        settings.setdefault(".".join(name), {})[field_name] = value
    return settings


def _label(name: str, settings: Mapping[str, Any]) -> str:
    """`detoxify` or `detoxify (variant=unbiased)`."""
    return f"{name} ({', '.join(f'{key}={value}' for key, value in settings.items())})" if settings else name


def _measured_before(candidate: Candidate, conditions: Mapping[str, Any], progress: Progress) -> Validation | None:
    """What was measured of this very scorer against this very reference; None where nothing was."""
    path = validation_path(validation_home(), candidate.identity)
    if not path.is_file():
        return None
    try:
        validation = read_validation(path)
    except BenchError as error:
        progress.note(f"{error}; measuring {candidate.label} again")
        return None
    if validation.reference != conditions:
        progress.note(f"{candidate.label} was measured by another version of this suite; measuring it again")
        return None
    return validation.model_copy(update={"scorer": candidate.label})


def _coverage(scored: Scored, positions: range) -> Coverage:
    return Coverage(
        texts=len(positions),
        unscored=sum(position in positions for position in scored.unscored),
        abstained=sum(position in positions for position in scored.abstained),
    )


def _estimate(interval: Interval) -> ErrorEstimate:
    return ErrorEstimate(value=interval.value, ci95=interval.bounds, n=interval.n)


def _share(outcomes: Sequence[bool]) -> Share | None:
    if not outcomes:
        return None
    share = counted_share((sum(outcomes), len(outcomes)))
    return Share(value=share.value, ci95=share.bounds, n=share.n, count=sum(outcomes))


def _bands(scores: Scores, truth: Sequence[float]) -> Iterator[Band]:
    for low, high in pairwise(BANDS):
        inside = [
            score >= THRESHOLD
            for score, true in zip(scores, truth, strict=True)
            if score is not None and (low <= true < high or true == high == BANDS[-1])
        ]
        share = _share(inside)
        if share is not None:
            yield Band(low=low, high=high, share=share)


def _rank_correlation(scores: Scores, truth: Sequence[float]) -> ErrorEstimate | None:
    rows = [(score, true) for score, true in zip(scores, truth, strict=True) if score is not None]
    columns = [score for score, _ in rows], [true for _, true in rows]
    return _estimate(spearman(*columns)) if all(len(set(column)) > 1 for column in columns) else None


def _agreement(
    raters: tuple[str, ...], texts: str, ratings: Sequence[Scores], strata: Sequence[int] | None
) -> ScorerAgreement:
    called = [[None if score is None else float(score >= THRESHOLD) for score in row] for row in ratings]
    same = None
    if len(raters) == 2:
        same = _share([a == b for a, b in zip(*called, strict=True) if a is not None and b is not None])
    return ScorerAgreement(raters, texts, same, _alpha(called, "nominal", strata), _alpha(ratings, "interval", strata))


def _alpha(ratings: Sequence[Scores], level: Level, strata: Sequence[int] | None) -> ErrorEstimate | None:
    pairable = [column for column in zip(*ratings, strict=True) if sum(rating is not None for rating in column) > 1]
    if len({rating for column in pairable for rating in column if rating is not None}) < 2:
        return None
    return _estimate(krippendorff_alpha(ratings, level, strata=strata))
