"""The ground floor: plain values, errors, hashing, registries, assets. Imports nothing of ours.

Nothing here imports torch but `prediction`, which is imported where it is used.
"""
