"""One aligned checkpoint: made, proven to load, described by a card, published if asked.

Read request, make and record for how it comes about, rehearsal, saving and publish for where it goes, card and
card_metrics for what is said of it.

May import: core, core.store, core.passes, models, spec, harness, methods, methods.projection, tasks.texts,
tasks.preferences, leaderboard.board, leaderboard.records, leaderboard.render.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "card": ["model_card"],
        "make": ["Edited", "edit_model"],
        "request": ["EditRequest"],
        "saving": ["save_checkpoint"],
    },
)
