"""One training run shared by several processes.

May import: core, core.passes, methods, methods.pairs, methods.training.
"""
