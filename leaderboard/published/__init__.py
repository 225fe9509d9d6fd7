"""Numbers that others published, and whether ours can be told from them.

May import: core, leaderboard.render.
"""
