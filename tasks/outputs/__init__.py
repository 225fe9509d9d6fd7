"""What a model says: continuations it writes, and losses it gives to texts.

May import: core, core.passes, tasks.texts.
"""
