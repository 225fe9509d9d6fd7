"""Numbers that others published, and whether ours can be told from them.

Read `numbers` (what was published, as data) and `parity` (verdicts).

May import: core, leaderboard.render.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "numbers": ["Published", "PublishedTable"],
        "parity": ["assess", "compare_published"],
    },
)
