"""How a model becomes aligned: the one interface (base) and what cells share (shared). Knows no task, metric or file.

May import: core.
"""
