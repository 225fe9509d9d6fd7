"""A study's curves, what they come to, and its report.

Read `report` (from records to all that is said), `cells` (what was measured where) and `summaries` (what a curve comes
to, which `summary_tables` and `page` write). Pictures are made of plain rows: `charts`, from `chart_rows`, `tradeoffs`
and `mechanisms`.

May import: core, leaderboard.statistics, leaderboard.records, leaderboard.board, leaderboard.render, methods.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "charts": ["Chart", "csv_text", "make_charts"],
        "page": ["report_page"],
        "report": ["StudyReport", "make_report"],
        "cells": ["StudyCells", "study_cells"],
    },
)
