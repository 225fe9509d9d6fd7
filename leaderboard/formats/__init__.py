"""Boards for papers, pages and programs: LaTeX, HTML and CSV.

Papers and web pages print `paper`, one table of a line a row, through `latex` and `web_page`; programs read
`csv_lines`.

May import: core, leaderboard.board, leaderboard.records, leaderboard.render.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "csv_lines": ["board_csv"],
        "latex": ["board_latex"],
        "web_page": ["board_html"],
    },
)
