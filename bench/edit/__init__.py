"""One aligned checkpoint: made, proven to load, described by a card, published if asked.

May import: core, core.store, models, spec, harness, methods, methods.projection, tasks.texts, tasks.preferences,
leaderboard.board, leaderboard.records, leaderboard.render.
"""
