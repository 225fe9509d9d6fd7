"""Boards and sections as text: one table value, a terminal writer, a Markdown writer.

Read `numbers` (one number as text) and `section` (a titled table); `text` writes sections. A board's page is
`markdown`. On a terminal it is `brief`, which fits a screen, with what `findings` says in words, or `terminal`, whose
tables `grid` fits to the width. Page and terminal say what stands in `notes`, `columns`, `noise` and `side_tables`.

May import: core, leaderboard.statistics, leaderboard.records, leaderboard.board.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "brief": ["BriefBoard"],
        "markdown": ["board_page"],
        "section": ["Section"],
        "terminal": ["TerminalBoard"],
        "text": ["TerminalSections", "section_markdown"],
    },
)
