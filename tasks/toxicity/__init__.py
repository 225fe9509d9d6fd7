"""How toxic continuations are, with guards against empty wins.

May import: core, core.store, core.passes, tasks, tasks.texts, tasks.outputs, tasks.scorers.
"""
