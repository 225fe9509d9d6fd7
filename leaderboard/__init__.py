"""The board as files beside the records that it is drawn from.

`export` is the way in: records → board → render. What stands behind it, from the ground up: `statistics` and `records`,
then `board`, `render`, and what reads records in other ways: `study`, `compare`, `inspection`, `published`, `figures`.

May import: core, leaderboard.records, leaderboard.board, leaderboard.render.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "export": ["board_json", "read_leaderboard", "write_leaderboard"],
    },
)
