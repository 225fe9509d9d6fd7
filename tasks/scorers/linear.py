"""A linear profanity and toxicity classifier on word counts: a second opinion that shares nothing with the others."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError
from bench.core.files import write_json
from bench.core.progress import Silent
from bench.core.store.assets import pinned_files
from bench.tasks.scorers.base import ConvertedScorer
from bench.tasks.scorers.pickles import read_joblib

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

STUBS = frozenset(
    {
        "sklearn.calibration.CalibratedClassifierCV",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.svm._classes.LinearSVC",
        "sklearn.feature_extraction.text.TfidfVectorizer",
        "sklearn.feature_extraction.text.TfidfTransformer",
    }
)
IMPLEMENTED = {
    "analyzer": "word",
    "lowercase": True,
    "ngram_range": (1, 1),
    "strip_accents": None,
    "preprocessor": None,
    "tokenizer": None,
    "binary": False,
    "norm": "l2",
    "use_idf": True,
    "sublinear_tf": False,
}
"""How the vectorizer must count words for what is written here to be what it does."""


class Linear(ConvertedScorer):
    """Probability that a text is offensive, by calibrated linear support vector machines on TF-IDF word weights.

    A text without any of the classifier's 15,442 words is not scored: the answer would be that for no text at all.
    """

    scorer = "linear"
    files = tuple(pinned_files(Path(__file__).with_name("wheels.yaml"))["linear"].values())

    def convert(self, sources: Sequence[Path], folder: Path) -> None:
        """Made of the two joblib files."""
        import numpy
        from safetensors.numpy import save_file

        model, vectorizer = (read_joblib(path, STUBS) for path in sources)
        settings = {key: getattr(vectorizer, key) for key in IMPLEMENTED}
        if settings != IMPLEMENTED or model.method != "sigmoid":
            raise BenchError(f"{sources[1]} counts words in a way that is not implemented: {settings}")
        machines = model.calibrated_classifiers_
        tensors = {
            "idf": vars(vectorizer)["_tfidf"].idf_.array,
            "coefficients": numpy.stack([machine.estimator.coef_.array[0] for machine in machines]),
            "intercepts": numpy.array([machine.estimator.intercept_.array[0] for machine in machines]),
            "slopes": numpy.array([machine.calibrators[0].a_ for machine in machines]),
            "offsets": numpy.array([machine.calibrators[0].b_ for machine in machines]),
        }
        save_file(tensors, folder / "model.safetensors")
        words = {word: int(column) for word, column in vectorizer.vocabulary_.items()}
        write_json(folder / "words.json", {"pattern": vectorizer.token_pattern, "words": words})

    def score(self, texts: Sequence[str]) -> list[float | None]:
        return load_linear(self.folder(Silent())).probabilities(texts)


@dataclass(frozen=True)
class Ensemble:
    """Support vector machines whose calibrated probabilities are averaged."""

    pattern: re.Pattern[str]
    """What counts as a word."""
    words: Mapping[str, int]
    """Columns of the known words; stop words are not among them."""
    idf: NDArray[Any]
    """(words,)"""
    coefficients: NDArray[Any]
    """(machines, words)"""
    intercepts: NDArray[Any]
    slopes: NDArray[Any]
    offsets: NDArray[Any]

    def probabilities(self, texts: Sequence[str]) -> list[float | None]:
        """Mean calibrated probability for each text; None where it holds no known word.

        No text's number depends on the others: each is a row of a sparse matrix.
        """
        import numpy
        from scipy.special import expit

        weights = self._counts(texts).multiply(self.idf).tocsr()
        norms = numpy.sqrt(weights.multiply(weights).sum(axis=1))
        scorable = norms > 0
        directions = (weights @ self.coefficients.T)[scorable] / norms[scorable, None]
        means = expit(-(self.slopes * (directions + self.intercepts) + self.offsets)).mean(axis=1)
        scores: list[float | None] = [None] * len(texts)
        for index, mean in zip(numpy.flatnonzero(scorable), means, strict=True):
            scores[index] = float(mean)
        return scores

    def _counts(self, texts: Sequence[str]) -> csr_array:
        """How often each known word stands in each text, (texts, words)."""
        import numpy
        from scipy.sparse import csr_array

        columns: list[int] = []
        numbers: list[int] = []
        ends = [0]
        for text in texts:
            frequencies = Counter(word for word in self.pattern.findall(text.lower()) if word in self.words)
            columns += [self.words[word] for word in frequencies]
            numbers += frequencies.values()
            ends.append(len(columns))
        counts = numpy.array(numbers, dtype=self.idf.dtype)
        return csr_array((counts, numpy.array(columns, dtype=int), ends), shape=(len(texts), len(self.idf)))


@cache
def load_linear(folder: Path) -> Ensemble:
    """The classifier from a folder that `Linear.convert` filled."""
    from safetensors.numpy import load_file

    vectorizer = json.loads((folder / "words.json").read_text(encoding="utf-8"))
    return Ensemble(re.compile(vectorizer["pattern"]), vectorizer["words"], **load_file(folder / "model.safetensors"))
