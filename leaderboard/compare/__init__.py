"""Two models on the same items.

Read `two_models` (the whole comparison), `cells` (which cells it is of), `metrics` (one metric) and `prompts` (where
text changed most).

May import: core, leaderboard.statistics, leaderboard.records, leaderboard.board, leaderboard.render.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "metrics": ["PairedMetric", "compare_metrics"],
        "two_models": ["Report", "compare_models"],
    },
)
