"""Searches a method's hyperparameters on training pairs alone, noise and all.

May import: core, models, spec, harness, methods, methods.pairs, methods.projection, tasks.preferences,
leaderboard.records.
"""
