"""Pictures. Imports matplotlib: import it only where one is drawn.

Read `style` (how pictures look and are saved), then `record` (of one record), `study` and `scatter` (of a study's
charts) and `overlap`.

May import: core, leaderboard.records, leaderboard.board, leaderboard.render, leaderboard.study, methods.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "overlap": ["draw_overlap"],
        "record": ["draw_record"],
        "study": ["draw_chart"],
        "style": ["save_figure"],
    },
)
