"""From records to the board as plain values: rows, pairs, scores, ranks, flags.

May import: core, leaderboard.statistics, leaderboard.records.
"""
