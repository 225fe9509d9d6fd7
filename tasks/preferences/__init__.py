"""From a pool of pairs to what a method is given: hold out, subsample, corrupt, as a Lightning data module.

May import: core, core.store, tasks.preferences.noise, tasks.texts, tasks.outputs, tasks.scorers.
"""
