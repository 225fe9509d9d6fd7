"""ProFS: project directions out of MLP matrices. Read run beside the paper's Algorithm 1: embeddings → subspace →
cross_validation or screenot → weights.

May import: core, core.passes, methods, methods.pairs.
"""
