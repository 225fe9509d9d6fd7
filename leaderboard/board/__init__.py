"""From records to the board as plain values: rows, pairs, scores, ranks, flags.

Read `build` (records to tables), `rows`, and `values`, which all of this comes to. A score: `scores`, from items paired
by `pairing`, with `extras`, `margins` and `degenerate`. Over a whole table: `holm`, `budget`, and `noise`, which sets
noisy rows against their clean twins; over rows of the same pairs and noise `ranking` and `contrasts`; a method's rows
`over_noise`. `operating_points` are chosen of a method's settings.
`effects` says before a study is run what it could find.

May import: core, leaderboard.statistics, leaderboard.records, methods.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "build": ["comparable_groups", "make_leaderboard"],
        "effects": ["smallest_effects"],
        "margins": ["read_margins"],
        "values": ["Change", "Column", "Leaderboard", "Row", "Score", "Table"],
    },
)
