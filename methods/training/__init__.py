"""One training run through TRL, on our tokens, watched and undone but for its weights. Knows settings and recipes, no
method by name.

May import: core, core.passes, methods, methods.pairs.
"""
