"""What is measured: the one interface.

May import: core, core.store.
"""
