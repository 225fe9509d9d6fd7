"""From the records of one table to its rows: one for each method, setting, choice of pairs, noise and code."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

from bench.core.hashing import sha256_json
from bench.core.values import BASE, Metric
from bench.leaderboard.board.budget import make_budget
from bench.leaderboard.board.contrasts import make_contrasts
from bench.leaderboard.board.degenerate import lacking_seeds, text_warnings, unchanged, warnings_of, without_credit
from bench.leaderboard.board.extras import Validations, corrected, extras
from bench.leaderboard.board.holm import with_holm
from bench.leaderboard.board.margins import MARGINS, Margins
from bench.leaderboard.board.noise import find_twins, method_keys, with_noise
from bench.leaderboard.board.operating_points import Selection, operating_points
from bench.leaderboard.board.over_noise import over_noise
from bench.leaderboard.board.ranking import MetricsBySeed, with_ranks
from bench.leaderboard.board.scores import NO_BASE, metric_scores
from bench.leaderboard.board.values import MethodContrast, OperatingPoint, OverNoise, Row, Score
from bench.leaderboard.records.conditions import conditions_of
from bench.leaderboard.records.labels import distinctions, pool_names
from bench.leaderboard.records.perplexity_rise import PerplexityRise
from bench.leaderboard.records.record import Record
from bench.leaderboard.records.reports import metric_flags

SHOWN_COUNTS = ("empty", "unscored", "abstained", "diverged", "unspaced", "truncated", "too_long", "alike")
"""Counts of a metric that are shown as flags; the others are in the JSON."""
NOTEWORTHY = 0.05
"""From this share of the items on."""
PREFERENCE = "preference"
ORDER = ("toxicity", PREFERENCE, "perplexity", "capability")
"""Metrics in this order, then any others by name."""


class Rows(NamedTuple):
    """All that a table says but where it comes from; see `bench.leaderboard.board.values.Table`."""

    rows: Sequence[Row]
    contrasts: Mapping[str, tuple[MethodContrast, ...]]
    over_noise: Mapping[str, tuple[OverNoise, ...]]
    operating_points: tuple[OperatingPoint, ...]


def make_rows(
    history: Sequence[Record],
    validations: Validations,
    margins: Margins = MARGINS,
    *,
    selection: Selection | None = None,
    rise: PerplexityRise | None = None,
) -> Rows:
    """Rows of one table, base first, then by method, settings, pairs and noise, with what is said of several.

    Arguments:
        history: comparable records, oldest first; where several measured the same row, seed and metric, the newest
            counts.
        validations: of scorers whose errors are known.
        margins: up to which losses a metric counts as preserved, by metric.
        selection: what settings are chosen by; None where there is nothing.
        rise: the most by which perplexity may rise; None for no operating points.
    """
    groups = _gathered(history)
    bases = groups.pop(BASE, [])
    labels = _labels(groups)
    against = _Reference(newest_metrics(bases), validations, margins, len(groups))
    drafts = _drafts(list(groups.values()), [labels[key] for key in groups], against)
    drafts.sort(key=_sort_key)
    if bases:
        drafts = [*_drafts([bases], [{}], _Reference({}, validations, margins, len(groups))), *drafts]
    measured = [metrics for _, metrics in drafts]
    rows = with_holm(_of_all_seeds([row for row, _ in drafts], measured))
    conditions, twins = conditions_of([row.cells[0] for row in rows], history), find_twins(rows, history)
    rows = with_noise(with_ranks(rows, measured, conditions), measured, against.metrics, twins)
    points = operating_points(rows, history, conditions, selection, rise) if rise else ()
    passed_over = {index for point in points if point.rows for index in {*point.swept} - {*point.rows}}
    compared = [None if index in passed_over else condition for index, condition in enumerate(conditions)]
    return Rows(
        rows,
        make_contrasts(rows, measured, against.metrics, compared, twins),
        over_noise(rows, measured, against.metrics, compared, method_keys(rows, history)),
        points,
    )


def _of_all_seeds(rows: Sequence[Row], measured: Sequence[MetricsBySeed]) -> list[Row]:
    """The rows, those without credit in a metric that lack a seed under which another row was measured in it."""
    seeds: dict[str, set[int]] = {}
    for row, metrics in zip(rows, measured, strict=True):
        for name, by_seed in () if row.is_base else metrics.items():
            seeds.setdefault(name, set()).update(by_seed)
    marked = []
    for row, metrics in zip(rows, measured, strict=True):
        lacking = {
            name: missing
            for name, by_seed in metrics.items()
            if not row.is_base and (missing := sorted(seeds[name] - by_seed.keys()))
        }
        marked.append(lacking_seeds(row, lacking) if lacking else row)
    return marked


def newest_metrics(history: Iterable[Record]) -> dict[str, Metric]:
    """Each metric as last measured."""
    return {name: metric for record in history for name, metric in record.metrics.items()}


def in_order(metrics: Iterable[str], lead: str = ORDER[0]) -> list[str]:
    """Names of metrics in the order in which they are shown, `lead` first."""

    def position(name: str) -> tuple[bool, int, str]:
        task = name.partition(" [")[0]  # "toxicity [linear]" stands beside "toxicity"
        return task != lead, ORDER.index(task) if task in ORDER else len(ORDER), name

    return sorted(set(metrics), key=position)


def _gathered(history: Sequence[Record]) -> dict[str, list[Record]]:
    """Records by row, oldest first; the unaligned model's under its name, whatever data its record mentions.

    Pairs count by their content: where they were read from makes no other row.
    """
    rows: dict[str, list[Record]] = {}
    for record in history:
        data, noise = record.data, record.data.noise
        pairs = [data.pool_sha256, data.held_out, data.n_pairs]
        tuned = record.method.tuned
        method = {**record.method.model_dump(mode="json"), "tuned": tuned and tuned.statement()}
        identity = [method, pairs, noise.model, noise.rate]
        key = BASE if _is_base(record) else sha256_json(identity)
        rows.setdefault(key, []).append(record)
    return rows


def _labels(groups: Mapping[str, Sequence[Record]]) -> dict[str, dict[str, str]]:
    """For each row, the hyperparameters that tell it from others of its name, pair source or noise if several, and
    which pairs and code these were where rows of the name would look the same."""
    pools = pool_names(record for group in groups.values() for record in group)
    newest = [group[-1].data for group in groups.values()]
    data = distinctions(
        [
            {"pairs": pools[data.pool_sha256], "noise": data.noise.model, "chat template": data.chat is not None}
            for data in newest
        ]
    )
    labels = dict(zip(groups, data, strict=True))
    for name in {group[0].method.name for group in groups.values()}:
        alike = [key for key, group in groups.items() if group[0].method.name == name]
        differences = distinctions([dict(groups[key][0].method.config) for key in alike])
        labels |= {key: settings | labels[key] for key, settings in zip(alike, differences, strict=True)}
        origins = _origins([(groups[key][0], labels[key]) for key in alike])
        labels |= {key: labels[key] | origin for key, origin in zip(alike, origins, strict=True)}
    return labels


def _origins(rows: Sequence[tuple[Record, Mapping[str, str]]]) -> list[dict[str, str]]:
    """For rows of one name, given with their labels, what else must be said of all so that no two look the same."""
    origins = [_origin(record) for record, _ in rows]
    looks = [(dict(label), record.data.n_pairs, record.data.noise.rate) for record, label in rows]
    needed = {
        name
        for look in looks
        for alike in [[origin for other, origin in zip(looks, origins, strict=True) if other == look]]
        for difference in distinctions(alike)
        for name in difference
    }
    return distinctions([{name: origin[name] for name in needed} for origin in origins])


def _origin(record: Record) -> dict[str, Any]:
    tuned = record.method.tuned
    origin = {"pairs sha": record.data.pool_sha256, "held out": record.data.held_out, "code": record.method.code}
    # The hash is told only where the number of trials does not tell rows apart.
    return origin | {
        "trials": tuned.trials if tuned else "not stated",
        "tuning sha": sha256_json(tuned and tuned.statement()),
    }


@dataclass(frozen=True, slots=True)
class _Reference:
    """What a row is held against."""

    metrics: Mapping[str, Metric]
    """Of the unaligned model; empty where it was not measured, and for itself."""
    validations: Validations
    margins: Margins
    rows: int
    """Beside the unaligned model's: marks of a column are corrected for as many changes."""


def _drafts(
    groups: Sequence[Sequence[Record]], labels: Sequence[Mapping[str, str]], against: _Reference
) -> list[tuple[Row, MetricsBySeed]]:
    """Rows, and the metrics that each is made of."""
    judged = [_judged(group) for group in groups]
    scores: list[dict[str, Score]] = [{} for _ in groups]
    for name in {name: None for by_name in judged for name in by_name}:
        there = {index: by_name[name] for index, by_name in enumerate(judged) if name in by_name}
        by_seed = [{seed: record.metrics[name] for seed, record in cells.items()} for cells in there.values()]
        base, margin = against.metrics.get(name), against.margins.get(name)
        for index, score in zip(there, metric_scores(by_seed, base, margin=margin, tests=against.rows), strict=True):
            scores[index][name] = score
    return [
        _row(group, label, by_name, of_row, against)
        for group, label, by_name, of_row in zip(groups, labels, judged, scores, strict=True)
    ]


def _judged(group: Sequence[Record]) -> dict[str, dict[int, Record]]:
    """For each metric of a row, in order, the newest record of each seed."""
    by_name: dict[str, dict[int, Record]] = {name: {} for name in in_order(n for one in group for n in one.metrics)}
    for record in group:
        for name in record.metrics:
            by_name[name][_seed(record)] = record
    return by_name


def _row(
    group: Sequence[Record],
    label: Mapping[str, str],
    by_name: Mapping[str, Mapping[int, Record]],
    computed: Mapping[str, Score],
    against: _Reference,
) -> tuple[Row, MetricsBySeed]:
    """A row, and the metrics that it is made of.

    Arguments:
        by_name: the records that count, by metric and seed.
        computed: the score of each metric, before it is known whether it earns credit.
    """
    chosen = {(name, _seed(record)): record for record in group for name in record.metrics}
    used = {record.cell_id: record for record in chosen.values()} or {group[-1].cell_id: group[-1]}
    scores: dict[str, Score] = {}
    degenerations: dict[str, None] = {}
    measured: dict[str, dict[int, Metric]] = {}
    for name, judged in by_name.items():
        measured[name] = {seed: record.metrics[name] for seed, record in judged.items()}
        scores[name], warnings = _score(name, judged, computed[name], against)
        if name.partition(" [")[0] == PREFERENCE and (of_text := text_warnings(degenerations)):
            # To prefer the right one of two texts is no merit of a model that writes none.
            scores[name] = without_credit(scores[name], of_text)
            warnings = [*warnings, *of_text]
        degenerations |= {f"{name}: {warning}": None for warning in warnings}
    newest, costs = group[-1], [record.cost for record in used.values()]
    row = Row(
        method=newest.method.name,
        settings=label,
        config=newest.method.config,
        code=newest.method.code,
        scores=scores,
        device=newest.cost.device,
        budget=make_budget(list(used.values())),
        flags=(
            *degenerations,
            *unchanged(used.values()),
            *_flags(used.values(), [(name, record.metrics[name]) for (name, _), record in chosen.items()], scores),
        ),
        cells=tuple(sorted(used)),
        **({} if _is_base(newest) else _data(newest, used.values())),
        align_seconds=fmean(cost.align_seconds for cost in costs),
        evaluate_seconds=fmean(cost.evaluate_seconds for cost in costs),
        peak_rss_bytes=max(cost.peak_rss_bytes for cost in costs),
        peak_device_bytes=max(
            (cost.peak_device_bytes for cost in costs if cost.peak_device_bytes is not None), default=None
        ),
    )
    return row, measured


def _score(name: str, judged: Mapping[int, Record], score: Score, against: _Reference) -> tuple[Score, list[str]]:
    """One metric of a row, by seed, and why it earns no credit, if it does not."""
    base = against.metrics.get(name)
    by_seed = {seed: record.metrics[name] for seed, record in judged.items()}
    is_base = all(map(_is_base, judged.values()))
    warnings = warnings_of(by_seed.values(), {} if base is None else extras([base]), is_base=is_base)
    score = without_credit(score, [*warnings, *unchanged(judged.values())])
    if correction := corrected(list(judged.values()), name, against.validations):
        score = score.model_copy(update={"asides": {**score.asides, **correction}})
    if against.metrics and base is None:
        score = score.model_copy(update={"unpaired": NO_BASE})
    return score, warnings


def _data(record: Record, used: Iterable[Record]) -> dict[str, Any]:
    return {
        "source": record.data.source,
        "chat": record.data.chat,
        "pool_sha256": record.data.pool_sha256,
        "held_out": record.data.held_out,
        "n_pairs": record.data.n_pairs,
        "n_pool": record.data.n_pool,
        "disjoint": bool(record.data.disjoint),
        "alike": _alike(list(used)),
        "noise_model": record.data.noise.model,
        "noise_rate": record.data.noise.rate,
        "seeds": tuple(sorted({record.data.seed for record in used})),
    }


def _alike(cells: Sequence[Record]) -> bool:
    """Whether cells of several seeds measured the same for every item, so that seeds made no difference."""
    values = [
        {
            (name, task): part.items
            for name, m in cell.metrics.items()
            for task, part in {"": m, **(m.tasks or {})}.items()
        }
        for cell in cells
    ]
    several = len({cell.data.seed for cell in cells}) > 1
    return several and all(of_cell == values[0] for of_cell in values) and any(values[0].values())


def _flags(
    records: Iterable[Record], metrics: Iterable[tuple[str, Metric]], scores: Mapping[str, Score]
) -> tuple[str, ...]:
    """Warnings of the method, then of the measurements, then outputs that went wrong.

    For example `chosen-logprob-collapse`, `toxicity: mostly-unscored`, `toxicity: 3 empty`.
    """
    of_method = {flag for record in records for flag in record.alignment.flags}
    of_metrics = {f"{name}: {flag}" for name, metric in metrics for flag in metric_flags(metric)}
    counted = [
        f"{metric}: {count} {name}"
        for metric, score in scores.items()
        for name, count in score.counts.items()
        if name in SHOWN_COUNTS and count and count >= NOTEWORTHY * (score.n + count)
    ]
    return (*sorted(of_method), *sorted(of_metrics), *counted)


def _sort_key(draft: tuple[Row, MetricsBySeed]) -> tuple[Any, ...]:
    row, _ = draft
    return row.method, sorted(row.settings.items()), row.n_pairs, row.noise_rate, sha256_json(dict(row.config))


def _is_base(record: Record) -> bool:
    return record.method.name == BASE


def _seed(record: Record) -> int:
    """Nothing about the unaligned model depends on a seed: its records are all of one row and seed."""
    return 0 if _is_base(record) else record.data.seed
