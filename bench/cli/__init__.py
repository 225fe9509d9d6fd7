"""The verbs: parse, call, print. A verb imports what it needs when it is called.

May import: core, core.store, core.passes, models, spec, meters, harness, edit, tune, scoring, analyse, reproduce,
display, leaderboard.compare.
"""
