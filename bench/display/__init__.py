"""What people see: results to standard output, all else to standard error. Computes nothing.

`console` has what every command prints by (and `streams`, to where), `live`, `matrix` and `quiet` what is seen while
work goes on, `board` what a run ends with. The other files print what one command or two have to say: `run` (with plan,
status and leaderboard), `report`, `inspect`, `comparison`, `scoring`, `tuning`, `listing`, `doctor`, `overlap`,
`reproduce`, `pairs`.

May import: core, core.store, models, spec, harness, tune, scoring, analyse, reproduce, leaderboard.records,
leaderboard.board, leaderboard.render, leaderboard.study, leaderboard.compare, leaderboard.inspection,
leaderboard.published, leaderboard.figures, leaderboard.formats, leaderboard, methods, methods.projection,
methods.objectives, tasks, tasks.preferences, tasks.preferences.noise, tasks.scorers, tasks.texts, tasks.toxicity.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "comparison": ["report_sections", "show_comparison"],
        "console": ["print_board", "progress_display"],
        "inspect": ["inspect_record"],
        "live": ["LiveDisplay"],
        "matrix": ["CellMatrix"],
        "quiet": ["silence_libraries"],
        "report": ["report_run"],
        "run": ["show_leaderboard", "show_outcome", "show_plan", "show_status"],
    },
)
