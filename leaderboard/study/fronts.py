"""What the settings of sweeps buy and cost, as rows for a picture: as chosen by, and as then measured."""

from bench.leaderboard.board.values import Change, OperatingPoint, Table, TriedSetting
from bench.leaderboard.records.labels import joined
from bench.leaderboard.records.perplexity_rise import parse_rise
from bench.leaderboard.study.chart_rows import Cell, Row
from bench.leaderboard.study.charts import Chart, slug

CHOICE, EVALUATION = "chosen by", "measured on"


def front_charts(table: Table) -> list[Chart]:
    """A picture for each number of pairs on which methods have several settings that were measured to choose by."""
    charts = []
    sizes = {point.n_pairs for point in table.operating_points if point.candidates}
    for size in sorted(sizes):
        points = [point for point in table.operating_points if point.candidates and point.n_pairs == size]
        rows = [row for point in points for part in (CHOICE, EVALUATION) for row in _rows(table, point, part)]
        stem = slug(f"front-n{size}" if len(sizes) > 1 else "front")
        title = f"Settings and their operating points, {size:,} pairs"
        charts.append(
            Chart(stem, "front", title, tuple(rows), tuple(dict.fromkeys(_name(table, point) for point in points)))
        )
    return charts


def _rows(table: Table, point: OperatingPoint, part: str) -> list[Row]:
    by_strength = sorted(enumerate(point.candidates), key=lambda numbered: _cost(numbered[1]))
    rows: list[Row] = []
    for index, candidate in by_strength:
        perplexity, toxicity = candidate.perplexity, candidate.toxicity
        if part == EVALUATION:
            scores = {} if candidate.row is None else table.rows[candidate.row].scores
            perplexity, toxicity = (
                scores[name].change if name in scores else None for name in ("perplexity", "toxicity")
            )
        if perplexity is None or toxicity is None:
            continue
        rows.append(
            {
                "part": part,
                "method": _name(table, point),
                "setting": joined(candidate.settings),
                "pairs": point.n_pairs,
                "perplexity": perplexity.value,
                **_ends("perplexity", perplexity),
                "toxicity": toxicity.value,
                **_ends("toxicity", toxicity),
                "allowed": candidate.allowed,
                "chosen": index == point.chosen,
                "front": candidate.front if part == CHOICE else None,
                "bound": _bound(point),
            }
        )
    return rows


def _name(table: Table, point: OperatingPoint) -> str:
    return table.rows[point.swept[0]].label


def _cost(candidate: TriedSetting) -> float:
    return candidate.perplexity.value if candidate.perplexity else 0.0


def _ends(name: str, change: Change) -> dict[str, Cell]:
    low, high = change.ci95 or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def _bound(point: OperatingPoint) -> float | None:
    """As a share of the unaligned model's perplexity, of the part that settings are chosen by."""
    margins = (one.perplexity.preserved for one in point.candidates if one.perplexity and one.perplexity.preserved)
    rise = parse_rise(point.rise)
    return next((preserved.margin for preserved in margins), rise.amount if rise.relative else None)
