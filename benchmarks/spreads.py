"""How much items and seeds differ in the shipped studies, for plans of studies of which nothing ran yet.

`python -m benchmarks.spreads docs/results/noise-study docs/results/size-study` writes leaderboard/board/spreads.yaml:
of each metric the method and setting whose smallest effect, with that study's own items and seeds, is largest.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import yaml

from bench.leaderboard.board.effects import SHIPPED, MeasuredSpread, measured_spreads
from bench.leaderboard.records.rescored import read_scored_records

DIGITS = 5
HEAD = """\
# Made by `python -m benchmarks.spreads docs/results/noise-study docs/results/size-study`. `spread` has the standard
# deviations of a difference from the unaligned model: between items, between seeds, and of one value beyond both.
"""


def largest_spreads(studies: list[Path]) -> dict[str, MeasuredSpread]:
    """By metric."""
    largest: dict[str, tuple[float, MeasuredSpread]] = {}
    for measured in (one for study in studies for one in measured_spreads(read_scored_records(study))):
        effect = measured.effect(n_items=measured.n_items, n_seeds=measured.n_seeds)
        if effect > largest.get(measured.metric, (0.0, None))[0]:
            largest[measured.metric] = effect, measured
    return {name: measured for name, (_, measured) in largest.items()}


def spreads_yaml(studies: list[Path]) -> str:
    """The whole file."""
    rows = {}
    for name, measured in largest_spreads(studies).items():
        row = asdict(measured)
        del row["metric"]
        rows[name] = {**row, "spread": {part: round(sd, DIGITS) for part, sd in row["spread"].items()}}
    return HEAD + yaml.safe_dump(rows, sort_keys=False, allow_unicode=True)


if __name__ == "__main__":
    SHIPPED.write_text(spreads_yaml([Path(argument) for argument in sys.argv[1:]]), encoding="utf-8")
