"""One record, as tables that say what its method did.

Read `sections`; `edit_tables` has those of a projection edit.

May import: core, leaderboard.records, leaderboard.render.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "sections": ["drawable", "inspect_sections", "inspection_json"],
    },
)
