"""Pictures. Imports matplotlib: import it only where one is drawn.

May import: leaderboard.statistics, leaderboard.records, leaderboard.board, leaderboard.render, leaderboard.study,
leaderboard.compare, leaderboard.inspection, leaderboard.published, leaderboard, core.
"""
