"""Two models on the same items.

May import: core, leaderboard.statistics, leaderboard.records, leaderboard.board, leaderboard.render.
"""
