"""What a run or study is asked to do: default < YAML < environment < flags < --set, checked and frozen. Read
overrides, resolve, run_spec, study.

May import: core, leaderboard.records, methods, tasks, tasks.texts, tasks.preferences, tasks.preferences.noise,
tasks.toxicity.
"""
