"""Scorers measured against references, and stored text scored again.

Read reference for the texts whose toxicity is known, validate for what scorers make of them, and rescore for scorers on
what finished cells wrote.

May import: core, core.store, spec, harness, tasks.outputs, tasks.scorers, tasks.texts, tasks.toxicity, leaderboard,
leaderboard.board, leaderboard.records, leaderboard.statistics.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "reference": ["Reference", "read_reference"],
        "rescore": ["Rescoring", "make_scorers"],
        "validate": ["ValidationReport", "validate_scorers"],
    },
)
