"""What people see: results to standard output, all else to standard error. Computes nothing.

May import: core, core.store, core.passes, models, spec, meters, harness, edit, tune, scoring, analyse, reproduce,
leaderboard.statistics, leaderboard.records, leaderboard.board, leaderboard.render, leaderboard.study,
leaderboard.compare, leaderboard.inspection, leaderboard.published, leaderboard.figures, leaderboard, methods,
methods.projection, tasks, tasks.preferences, tasks.scorers.
"""
