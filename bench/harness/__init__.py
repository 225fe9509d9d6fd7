"""From a spec to finished records: resolve, compose cells, take turns, execute, store. Read run, cells, execute,
turns.

May import: core, core.store, core.passes, models, spec, meters, methods, tasks, tasks.texts, tasks.preferences,
leaderboard, leaderboard.board, leaderboard.records.
"""
