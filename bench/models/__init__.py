"""Which model a name means, where it comes from, what identifies it, how it is loaded and on what.

May import: core, core.store, core.passes.
"""
