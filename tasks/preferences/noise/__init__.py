"""Wrong labels, nested and shared between methods: pure functions of pairs, rate and seed.

May import: core.
"""
