"""The smallest difference from the unaligned model that a study can tell, judged by the cells that are finished.

Until there are any, it is judged by the studies that come with the suite.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.leaderboard.records.record import Record

if TYPE_CHECKING:
    from bench.leaderboard.statistics.power import Spread

SHIPPED = Path(__file__).with_name("spreads.yaml")
"""What `python -m benchmarks.spreads` makes of the records under docs/results."""


@dataclass(frozen=True)
class MeasuredSpread:
    """How much the items and seeds of one method and setting differed from the unaligned model's, in one metric."""

    metric: str
    unit: str
    model: str
    """The last part of its locator."""
    method: str
    n_pairs: int
    rate: float
    """Of the label noise."""
    n_items: int
    n_seeds: int
    spread: Spread

    def effect(self, *, n_items: int, n_seeds: int) -> float:
        """The difference that so many items and seeds find in four of five studies (power 0.8), in the items' unit."""
        from bench.leaderboard.statistics.power import detectable_effect

        return detectable_effect(self.spread, n_items=n_items, n_seeds=n_seeds)

    def words(self, effect: float) -> str:
        """An effect as text."""
        perplexity = self.unit.startswith("perplexity")  # whose items are losses, in nats
        return f"{100 * effect:.1f} % of it" if perplexity else f"{effect:.3f}"


def smallest_effects(records: Iterable[Record], n_seeds: int) -> list[str]:
    """One line for each measurement: the difference that `n_seeds` seeds find in four of five studies (power 0.8).

    Arguments:
        records: finished cells, among them the unaligned model's; empty: nothing is known and nothing is said.
        n_seeds: that the study has.

    Returns:
        For each measurement the method and setting for which it is largest, as that is what the study is good for.
    """
    largest: dict[str, tuple[float, MeasuredSpread]] = {}
    for measured in measured_spreads(records):
        effect = measured.effect(n_items=measured.n_items, n_seeds=n_seeds)
        if effect > largest.get(measured.metric, (0.0, None))[0]:
            largest[measured.metric] = effect, measured
    return [
        f"smallest difference in {measured.metric} from the unaligned model that {_seeds(n_seeds)} can tell "
        f"(power 0.8): {measured.words(effect)} "
        f"(for {measured.method}, {measured.n_pairs} pairs, rate {measured.rate:g}"
        + ("; how much seeds differ is not known, as one was run)" if measured.n_seeds == 1 else ")")
        for effect, measured in largest.values()
    ]


def shipped_effects(n_items: Mapping[str, int], n_seeds: int) -> list[str]:
    """The same for a study of which nothing ran yet, by the spread in the studies that come with the suite.

    Arguments:
        n_items: by metric, of the study that is planned.
        n_seeds: that it has.

    Returns:
        A heading and one line for each measurement, those that no shipped study has by name alone; empty where none has
        any of them.
    """
    lines = [
        f"  {measured.metric}: {measured.words(measured.effect(n_items=items, n_seeds=n_seeds))} with {items} items, "
        f"judged by {measured.method} at noise {measured.rate:g} on {measured.model} ({measured.unit})"
        for measured in shipped_spreads()
        if (items := n_items.get(measured.metric, 0)) > 1
    ]
    if not lines:
        return []
    others = [name for name in n_items if name not in {measured.metric for measured in shipped_spreads()}]
    alone = " (how seeds differ is left out)" if n_seeds == 1 else ""
    return [
        f"smallest difference from the unaligned model that {_seeds(n_seeds)} can tell{alone} with power 0.8, judged "
        "by the shipped studies until cells are finished; another model may spread several times as much:",
        *lines,
        *(f"  {name}: not known until cells are finished, as no shipped study has it" for name in others),
    ]


def shipped_spreads() -> list[MeasuredSpread]:
    """What spreads.yaml holds: of each metric the method and setting whose smallest effect is largest."""
    import yaml

    from bench.leaderboard.statistics.power import Spread

    rows = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    return [MeasuredSpread(metric=name, **{**row, "spread": Spread(**row["spread"])}) for name, row in rows.items()]


def measured_spreads(records: Iterable[Record]) -> list[MeasuredSpread]:
    """Of every metric and every group of cells that differ in their seed alone, where items pair with base's."""
    everything = list(records)
    found = (
        _measured(name, group, base)
        for base in everything
        if base.data.n_pairs == 0
        for group in _groups(everything, base)
        for name in base.metrics
    )
    return [measured for measured in found if measured is not None]


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _groups(records: Sequence[Record], base: Record) -> list[list[Record]]:
    """Cells that differ in their seed alone, of the unaligned model's weights and measured as it was."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        alike = record.model.fingerprint == base.model.fingerprint and record.evaluation == base.evaluation
        if alike and record.data.n_pairs:
            noise = record.data.noise
            key = (record.method.name, str(record.method.config), record.data.n_pairs, noise.model, noise.rate)
            groups.setdefault(key, []).append(record)
    return list(groups.values())


def _measured(name: str, group: Sequence[Record], base: Record) -> MeasuredSpread | None:
    """None where items cannot be paired."""
    import numpy as np

    from bench.leaderboard.statistics.power import Spread
    from bench.leaderboard.statistics.seeds import seeded_difference

    items, others = base.metrics[name].items, [record.metrics[name].items for record in group if name in record.metrics]
    if items is None or not others or any(one is None or one.ids_sha256 != items.ids_sha256 for one in others):
        return None
    before = np.array(items.values, dtype=float)
    after = np.array([one.values for one in others if one is not None], dtype=float)
    n_items = int(np.isfinite(after - before).all(axis=0).sum())
    if n_items < 2:
        return None
    measured = seeded_difference(after, before, weights=items.weights)
    first = group[0]
    return MeasuredSpread(
        metric=name,
        unit=base.metrics[name].unit,
        model=base.model.locator.rpartition("/")[2],
        method=first.method.name,
        n_pairs=first.data.n_pairs,
        rate=first.data.noise.rate,
        n_items=n_items,
        n_seeds=len(others),
        spread=Spread.of(measured),
    )
