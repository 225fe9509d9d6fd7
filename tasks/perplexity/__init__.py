"""How well it still models prose.

May import: core, core.store, core.passes, tasks, tasks.texts, tasks.outputs.
"""
