"""Looks at a model, a machine or a finished study and changes none of them.

May import: core, core.store, core.passes, models, spec, harness, methods, methods.projection, tasks.outputs,
tasks.preferences, tasks.texts, leaderboard.board, leaderboard.records, leaderboard.render, leaderboard.study,
leaderboard.figures.
"""
