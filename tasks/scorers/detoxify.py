"""Detoxify, the classifier most papers on detoxification report, from its published or a local checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.core.cache import fault, file_sha256, home, workspace, write_manifest, writing
from bench.core.errors import UsageError
from bench.core.hashing import sha256_json
from bench.core.progress import Progress, Silent
from tasks.scorers.base import Scorer

if TYPE_CHECKING:
    from tasks.scorers.sequence_classifier import SequenceClassifier

Variant = Literal["original", "unbiased", "multilingual", "original-small", "unbiased-small"]
RELEASES = "https://github.com/unitaryai/detoxify/releases/download"
WEIGHT_FILES = ("model.safetensors", "*.ckpt")


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


class Detoxify(Scorer):
    """Probability of one of Detoxify's labels; of a text longer than its window, the highest over its windows.

    Nothing that a checkpoint holds is ever run: it is read as weights alone, and kept as safetensors from then on.

    Reference: Hanu and Unitary team 2020, https://github.com/unitaryai/detoxify.
    """

    variant: Variant = "original"
    """Published checkpoint to download; without effect where `checkpoint` is given."""
    checkpoint: Path | None = None
    """A folder with weights (a Detoxify `.ckpt` or `model.safetensors`), config.json and the tokenizer's files."""
    label: str = "toxicity"

    def identity(self) -> Mapping[str, Any]:
        return {"scorer": "detoxify", "version": 1, "label": self.label, **self._weights()}

    def downloads(self) -> list[str]:
        release = RELEASED[self.variant]
        if self.checkpoint is not None or self._converted().is_dir():
            return []
        return [f"{release.url} and hub:{release.encoder}@{release.revision}"]

    def prepare(self, progress: Progress) -> None:
        from tasks.scorers.sequence_classifier import label_index

        label_index(self._folder(progress), self.label)

    def score(self, texts: Sequence[str]) -> list[float | None]:
        return _classifier(self._folder(Silent()), self.label).score(texts)

    def _weights(self) -> dict[str, Any]:
        if self.checkpoint is not None:
            return {"files": {path.name: file_sha256(path) for path in local_files(self.checkpoint.expanduser())}}
        release = RELEASED[self.variant]
        encoder = f"{release.encoder}@{release.revision}"
        return {"variant": self.variant, "sha256": release.sha256_prefix, "encoder": encoder}

    def _converted(self) -> Path:
        return home() / "converted" / f"detoxify-v1-{sha256_json(self._weights())[:12]}"

    def _folder(self, progress: Progress) -> Path:
        """The classifier in transformers' own layout, made on first use."""
        folder = self._converted()
        if folder.is_dir() and fault(folder) is None:
            return folder
        with workspace() as temporary:
            made = temporary / "made"
            made.mkdir()
            self._make(made, temporary, progress)
            write_manifest(made)
            with writing(folder):
                folder.parent.mkdir(parents=True, exist_ok=True)
                if folder.is_dir():
                    folder.rename(temporary / "broken")
                made.rename(folder)
        return folder

    def _make(self, folder: Path, temporary: Path, progress: Progress) -> None:
        from tasks.scorers import sequence_classifier

        if self.checkpoint is not None:
            source = self.checkpoint.expanduser()
            weights = local_files(source)[0]
        else:
            source = sequence_classifier.download(RELEASED[self.variant], temporary, progress)
            weights = next(source.glob("*.ckpt"))
        sequence_classifier.convert(weights, source, folder)


def local_files(folder: Path) -> list[Path]:
    """The weights in `folder`, and then all else in it that a score depends on.

    Raises:
        UsageError: it is no folder, or lacks weights, configuration or tokenizer.
    """
    advice = "a folder with a Detoxify .ckpt (or model.safetensors), config.json and the tokenizer's files is needed"
    if not folder.is_dir():
        raise UsageError(f"Detoxify checkpoint {folder} is not a folder; {advice}")
    weights = [path for pattern in WEIGHT_FILES for path in sorted(folder.glob(pattern))]
    if len(weights) != 1:
        found = ", ".join(path.name for path in weights) or "none"
        raise UsageError(f"one weights file is needed in {folder}, found {found}; {advice}")
    others = [path for path in sorted(folder.iterdir()) if path.suffix in {".json", ".txt", ".model"}]
    names = {path.name for path in others}
    if "config.json" not in names or names <= {"config.json"}:
        raise UsageError(f"{folder} has no {'tokenizer' if 'config.json' in names else 'config.json'}; {advice}")
    return [*weights, *others]


@cache
def _classifier(folder: Path, label: str) -> SequenceClassifier:
    from tasks.scorers.sequence_classifier import load

    return load(folder, label)
