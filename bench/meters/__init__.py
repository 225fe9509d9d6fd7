"""What a piece of work takes: time, memory, energy.

May import: core, models, leaderboard.records.
"""
