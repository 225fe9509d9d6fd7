"""Passes of a frozen model over many texts: batches by length, what fits into memory, Lightning's predict. Imports
torch: import it where it is used.

May import: core.
"""
