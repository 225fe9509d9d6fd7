"""What a finished cell left, where it lies, and how it is read. Owns the layout of a run's directory.

May import: core, core.store, leaderboard.statistics.
"""
