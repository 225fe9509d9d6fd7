"""Prompts and prose from files, packages and the hub.

May import: core, core.store.
"""
