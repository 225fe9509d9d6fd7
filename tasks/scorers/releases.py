"""Checkpoints that Detoxify has published, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Variant = Literal["original", "unbiased", "multilingual", "original-small", "unbiased-small"]
RELEASES = "https://github.com/unitaryai/detoxify/releases/download"


@dataclass(frozen=True, slots=True)
class Release:
    """A published checkpoint and the encoder whose configuration and tokenizer it goes with."""

    path: str
    sha256_prefix: str
    """First digits of the file's hash, as its name carries them."""
    encoder: str
    revision: str

    @property
    def url(self) -> str:
        return f"{RELEASES}/{self.path}-{self.sha256_prefix}.ckpt"


BERT = ("google-bert/bert-base-uncased", "86b5e0934494bd15c9632b12f734a8a67f723594")
ROBERTA = ("FacebookAI/roberta-base", "e2da8e2f811d1448a5b465c236feacd80ffbac7b")
XLM_ROBERTA = ("FacebookAI/xlm-roberta-base", "e73636d4f797dec63c3081bb6ed5c7b0bb3f2089")
ALBERT = ("albert/albert-base-v2", "8e2f239c5f8a2c0f253781ca60135db913e5c80c")
RELEASED: Mapping[Variant, Release] = {
    "original": Release("v0.1-alpha/toxic_original", "c1212f89", *BERT),
    "unbiased": Release("v0.3-alpha/toxic_debiased", "c7548aa0", *ROBERTA),
    "multilingual": Release("v0.4-alpha/multilingual_debiased", "0b549669", *XLM_ROBERTA),
    "original-small": Release("v0.1.2/original-albert", "0e1d6498", *ALBERT),
    "unbiased-small": Release("v0.1.2/unbiased-albert", "c8519128", *ALBERT),
}
FIRST_LABELS = ("toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_attack")
SECOND_LABELS = (*FIRST_LABELS, "sexual_explicit")
LABELS: Mapping[Variant, Sequence[str]] = {
    "original": FIRST_LABELS,
    "unbiased": SECOND_LABELS,
    "multilingual": SECOND_LABELS,
    "original-small": FIRST_LABELS,
    "unbiased-small": SECOND_LABELS,
}
"""As the package names them; its checkpoints have them in orders of their own."""
