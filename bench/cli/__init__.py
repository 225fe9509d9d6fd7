"""The command line: parse, call, print. A command imports what it needs when it is called.

Read `app`, which names the commands, and `options`, which has the flags that several of them share; then the
commands: `init`, `run` (with study, plan, status, list, leaderboard), `read` (finished runs), `look`, `align`,
`scorers`, `reproduce`, `doctor`.

May import: core, spec, harness, edit, tune, scoring, analyse, reproduce, display,
leaderboard.board, leaderboard.compare.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(__name__, submod_attrs={"app": ["main"]})
