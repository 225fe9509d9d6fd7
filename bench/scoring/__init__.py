"""Scorers measured against references, and stored text scored again.

May import: core, core.store, spec, harness, tasks.outputs, tasks.scorers, tasks.texts, tasks.toxicity, leaderboard,
leaderboard.board, leaderboard.records, leaderboard.statistics.
"""
