"""One record, as tables that say what its method did.

May import: core, leaderboard.records, leaderboard.render.
"""
