"""Preference pairs as tokens, and how likely a model finds them.

Read completions (a pair as prompt and two answers) and likelihoods (their log-probabilities, shared between cells).
gain is the one number that methods are compared by on pairs held out; passages are pairs as methods read them that look
at activations.

May import: core, core.passes, methods.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "completions": ["Completion", "PairTokens", "all_completions", "tokenize_pairs"],
        "gain": ["HeldOutGain", "held_out_gain"],
        "likelihoods": ["completion_logps", "shared_logps"],
        "passages": ["Passage", "PassagePairs", "read_passages"],
    },
)
