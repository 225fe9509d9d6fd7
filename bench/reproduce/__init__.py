"""Figures of the ProFS paper, run again and set beside the published numbers.

May import: core, models, spec, harness, analyse, leaderboard.board, leaderboard.records, leaderboard.published.
"""
