"""The smallest difference from the unaligned model that a study can tell, judged by the cells that are finished."""

from collections.abc import Iterable, Sequence

from bench.leaderboard.records.record import Record


def smallest_effects(records: Iterable[Record], n_seeds: int) -> list[str]:
    """One line for each measurement: the difference that `n_seeds` seeds find in four of five studies (power 0.8).

    Arguments:
        records: finished cells, among them the unaligned model's; empty: nothing is known and nothing is said.
        n_seeds: that the study has.

    Returns:
        For each measurement the method and setting for which it is largest, as that is what the study is good for.
    """
    largest: dict[str, tuple[float, str]] = {}
    everything = list(records)
    for base in (record for record in everything if record.data.n_pairs == 0):
        for group in _groups(everything, base):
            for name in base.metrics:
                effect = _effect(name, group, base, n_seeds)
                if effect is not None and effect > largest.get(name, (0.0, ""))[0]:
                    largest[name] = effect, _line(name, effect, group, base, n_seeds)
    return [line for _, line in largest.values()]


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


def _effect(name: str, group: Sequence[Record], base: Record, n_seeds: int) -> float | None:
    """In the items' own unit; None where items cannot be paired."""
    import numpy as np

    from bench.leaderboard.statistics.power import Spread, detectable_effect
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
    return detectable_effect(Spread.of(measured), n_items=n_items, n_seeds=n_seeds)


def _line(name: str, effect: float, group: Sequence[Record], base: Record, n_seeds: int) -> str:
    perplexity = base.metrics[name].unit.startswith("perplexity")  # whose items are losses, in nats
    size = f"{100 * effect:.1f} % of it" if perplexity else f"{effect:.3f}"
    first = group[0]
    unknown = "; how much seeds differ is not known, as one was run" if len(group) == 1 else ""
    return (
        f"smallest difference in {name} from the unaligned model that {n_seeds} seeds can tell (power 0.8): {size} "
        f"(for {first.method.name}, {first.data.n_pairs} pairs, rate {first.data.noise.rate:g}{unknown})"
    )
