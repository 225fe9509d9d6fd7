"""The board as files beside its records.

May import: core, leaderboard.records, leaderboard.board, leaderboard.render.
"""
