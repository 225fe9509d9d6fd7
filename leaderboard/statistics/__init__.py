"""Intervals, tests, ranks and curves over seeds × items. Numbers in, numbers out.

May import: core.
"""
