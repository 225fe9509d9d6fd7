"""The losses that pairs are trained with: settings, rows, and the recipe of TRL's trainer.

May import: core, methods, methods.pairs, methods.training, methods.devices.
"""
