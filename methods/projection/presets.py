"""Settings of ProFS that come as one: the paper's, its code's, and those it used for each of its models."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

Preset = Literal["paper", "reference", "gpt2-medium", "gpt-j-6b", "mistral-7b", "mistral-7b-sft", "opt-6.7b"]
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "paper": {},
        "reference": {
            "center": "top-singular-vector",
            "pooling": "all-positions",
            "pairing": "independent",
            "drop_remainder": True,
            "last_block": "reference",
        },
        "gpt2-medium": {"rank": 2, "layers": "10-23"},
        "gpt-j-6b": {"rank": 10, "layers": "10-27"},
        "mistral-7b": {"rank": 10, "layers": "15-31"},
        "mistral-7b-sft": {"rank": 10, "layers": "15-31"},
        "opt-6.7b": {"rank": 10, "layers": "15-31"},
    }
)
"""Fields that a preset sets where they are not given.

The paper's section 6 begins at layer 11 for GPT-2 and GPT-J and at 15 for the others; its appendix E says 15-24, 10-28
and 20-32. Its code edits blocks 10 to 23 of GPT-2 medium, counted from 0, which is section 6 counted from 1, and 15 to
31 of Mistral; what is above follows section 6 as the code reads it, last block included (the code leaves GPT-J's out).

What the reference code does and `reference` does not: it edits nothing at all in OPT; its keys are only the
up-projection of a gated MLP; it holds embeddings of models other than GPT-2 in float16; it pads on whichever side the
tokenizer does, which for Mistral's is the left; and under transformers 4.57 the last layer of Mistral sees one text of
each batch instead of all.
"""
