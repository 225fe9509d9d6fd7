"""Wrong labels, nested in the rate and shared between methods: pure functions of pairs, rate and seed.

Read `models`, the table of names, then `corruption`, the hashes that decide which pairs come first; `flips` swaps
sides, `texts` changes texts.

May import: core.
"""

from lazy_loader import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    submod_attrs={
        "corruption": ["Corruption", "NoiseModel"],
        "models": ["NOISE_MODELS", "corrupt", "drop_corrupted"],
    },
)
