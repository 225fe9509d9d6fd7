"""Figures of the ProFS paper (paper), run again and set beside the published numbers (rerun).

May import: core, models, spec, harness, analyse, leaderboard.board, leaderboard.records, leaderboard.published.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={"paper": ["FIGURES", "Design"], "rerun": ["Reproduction", "rerun_figure"]},
)
