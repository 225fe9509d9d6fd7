"""Boards and sections as text: one table value, a terminal writer, a Markdown writer.

May import: core, leaderboard.statistics, leaderboard.records, leaderboard.board.
"""
