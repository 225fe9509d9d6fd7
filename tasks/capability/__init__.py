"""What it still can do, by lm-eval.

May import: core, core.store, core.passes, tasks, tasks.texts, tasks.outputs.
"""
