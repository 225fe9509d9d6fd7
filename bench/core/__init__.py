"""The ground floor: plain values, errors, hashes, registries, progress. Imports nothing of ours and nothing heavy.

May import: nothing of ours.
"""
