"""Searches a method's hyperparameters on training pairs alone, noise and all.

Read request and search, then objective for what is maximised, bound for what it may cost, space for what is varied,
trials for what is kept, and winner for what is written in the end.

May import: core, core.passes, models, spec, harness, methods, methods.pairs, methods.projection, tasks.preferences,
tasks.texts, tasks.outputs, leaderboard.records.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "request": ["resolve_tuning"],
        "search": ["SearchResult", "Tuning", "search_hyperparameters"],
        "space": ["SearchSpace", "read_space"],
        "trials": ["Trial"],
    },
)
