"""A study's curves, what they come to, and its report.

May import: core, leaderboard.statistics, leaderboard.records, leaderboard.board, leaderboard.render.
"""
