"""What scrubbing toxicity costs groups of people.

May import: core, core.store, core.passes, tasks, tasks.texts, tasks.outputs, tasks.scorers.
"""
