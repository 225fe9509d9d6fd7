"""Preference pairs as tokens, and how likely a model finds them.

May import: core, core.passes, methods.
"""
