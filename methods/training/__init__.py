"""One training run through TRL, on our tokens, watched and undone but for its weights. Knows settings and recipes, no
method by name.

Read settings and recipe (what a method says of itself), data, rows and job (what is trained on), run (how it goes), and
trainers (all that is known of TRL's insides). borrowing, weights and quantised give the model back; watch, held_out,
selection, resume, backoff and effort look on; hardware answers questions of settings.

May import: core, core.passes, methods, methods.pairs.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "recipe": ["Recipe"],
        "rows": ["chosen_rows", "labelled_rows", "late_mean", "scored_rows", "unpaired_rows"],
        "run": ["align_by_training"],
        "settings": ["TrainingSettings"],
        "trainers": ["TrainerParts", "make_trainer"],
    },
)
