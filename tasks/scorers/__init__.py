"""How toxic a text is, by several judges.

May import: core, core.store, core.passes.
"""
