"""Methods that must lose: random directions, rematched pairs, no pairs at all.

May import: core, methods, methods.pairs, methods.projection.
"""
