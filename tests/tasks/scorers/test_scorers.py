from __future__ import annotations

import collections
import json
import pickle
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.special import expit

from bench.core.errors import BenchError
from bench.core.progress import Silent
from bench.tasks.scorers import bilstm, linear
from bench.tasks.scorers.base import SCORERS
from bench.tasks.scorers.bilstm import BiLSTM, Network
from bench.tasks.scorers.linear import Linear
from bench.tasks.scorers.pickles import Stub, read_joblib, read_pickle

NAMESPACE = frozenset({"types.SimpleNamespace"})


class Bomb:
    """Pickles as a call that would leave a mark, were it made."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_plain_values_and_stubs_are_read(tmp_path: Path) -> None:
    counts = collections.defaultdict(int, a=1)
    value = types.SimpleNamespace(counts=counts, order=collections.OrderedDict(b=[2, None, True]))
    (tmp_path / "p").write_bytes(pickle.dumps(value))
    found = read_pickle(tmp_path / "p", NAMESPACE)
    assert type(found) is Stub
    assert vars(found) == vars(value)


def test_a_pickle_that_asks_for_more_is_refused_and_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "p").write_bytes(pickle.dumps({"a": Bomb(mark)}))
    for read in (read_pickle, read_joblib):
        with pytest.raises(BenchError, match=r"asks for pathlib.*not on the list"):
            read(tmp_path / "p", frozenset())
    assert not mark.exists()


def test_arrays_in_joblib_files_are_read(tmp_path: Path) -> None:
    import joblib

    value = types.SimpleNamespace(
        rows=np.arange(6.0).reshape(2, 3),
        columns=np.asfortranarray(np.arange(6).reshape(2, 3)),
        number=np.float64(0.25),
        after="text",
    )
    joblib.dump(value, tmp_path / "p")
    found = read_joblib(tmp_path / "p", NAMESPACE)
    assert np.array_equal(found.rows.array, value.rows)
    assert np.array_equal(found.columns.array, value.columns)
    assert found.columns.array.dtype == value.columns.dtype
    assert (found.number, found.after) == (0.25, "text")


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    import joblib

    joblib.dump(np.array([Bomb(tmp_path / "mark")], dtype=object), tmp_path / "p")
    with pytest.raises(BenchError, match="array of Python objects"):
        read_joblib(tmp_path / "p", frozenset())
    assert not (tmp_path / "mark").exists()


# BiLSTM

HIDDEN, INPUTS, WORDS = 3, 4, 6


@pytest.fixture
def keras_arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = {"embedding/vars/0": (WORDS, INPUTS), "dense/vars/0": (2 * HIDDEN, 5), "dense/vars/1": (5,)}
    shapes |= {"dense_1/vars/0": (5, 6), "dense_1/vars/1": (6,)}
    for direction in ("forward", "backward"):
        cell = f"bidirectional/{direction}_layer/cell/vars"
        shapes |= {f"{cell}/0": (INPUTS, 4 * HIDDEN), f"{cell}/1": (HIDDEN, 4 * HIDDEN), f"{cell}/2": (4 * HIDDEN,)}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def keras_tokenizer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An object that pickles under the name of Keras' Tokenizer."""
    for name in ("keras", "keras.src", "keras.src.legacy", "keras.src.legacy.preprocessing"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    module = types.ModuleType("keras.src.legacy.preprocessing.text")
    tokenizer = type("Tokenizer", (), {"__module__": module.__name__})
    module.__dict__["Tokenizer"] = tokenizer
    monkeypatch.setitem(sys.modules, module.__name__, module)
    value = tokenizer()
    words = {word: number for number, word in enumerate(["you", "are", "don't", "so", "kind", "rare", "rarer"], 1)}
    value.__dict__ = {"word_index": words, "num_words": WORDS, "filters": '!,."\t\n', "lower": True, "split": " "}
    value.__dict__ |= {"char_level": False, "oov_token": None}
    return value


def convert_keras(folder: Path, arrays: dict[str, np.ndarray], tokenizer: Any) -> Network:
    with h5py.File(folder / "weights.h5", "w") as file:
        for name, array in arrays.items():
            file[f"layers/{name}"] = array
    (folder / "tokenizer.pickle").write_bytes(pickle.dumps(tokenizer))
    (folder / "made").mkdir()
    BiLSTM().convert([folder / "weights.h5", folder / "tokenizer.pickle"], folder / "made")
    return bilstm.load_bilstm(folder / "made")


def keras_states(inputs: np.ndarray, kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Keras' LSTM as its documentation gives it: gates in the order input, forget, cell, output."""
    hidden, cell, states = np.zeros(HIDDEN), np.zeros(HIDDEN), []
    for row in inputs:
        i, f, c, o = np.split(row @ kernel + hidden @ recurrent + bias, 4)
        cell = expit(f) * cell + expit(i) * np.tanh(c)
        hidden = expit(o) * np.tanh(cell)
        states.append(hidden)
    return np.array(states)


def keras_probabilities(arrays: dict[str, np.ndarray], numbers: Sequence[int]) -> np.ndarray:
    inputs = arrays["embedding/vars/0"][[0] * (100 - len(numbers)) + list(numbers)]
    cell = "bidirectional/{}_layer/cell/vars/{}"
    forward = keras_states(inputs, *(arrays[cell.format("forward", index)] for index in range(3)))
    backward = keras_states(inputs[::-1], *(arrays[cell.format("backward", index)] for index in range(3)))[::-1]
    most = np.concatenate([forward, backward], axis=1).max(axis=0)
    dense = np.maximum(most @ arrays["dense/vars/0"] + arrays["dense/vars/1"], 0)
    return expit(dense @ arrays["dense_1/vars/0"] + arrays["dense_1/vars/1"])


def test_converted_network_computes_what_keras_does(
    tmp_path: Path, keras_arrays: dict[str, np.ndarray], keras_tokenizer: Any
) -> None:
    state = torch.get_rng_state()
    network = convert_keras(tmp_path, keras_arrays, keras_tokenizer)
    assert torch.equal(torch.get_rng_state(), state)
    texts = ["You are SO kind!", "unknown", "", "so" + " kind" * 99 + " are", "you,you.\tdon't rare"]
    numbers = [[1, 2, 4, 5], [], [], [5] * 99 + [2], [1, 1, 3]]
    assert [network.encode(text) for text in texts] == numbers  # the last 100 words; 6 and 7 are beyond num_words
    for label in range(6):
        scores = network.score(texts, label)
        for score, sequence in zip(scores, numbers, strict=True):
            expected = keras_probabilities(keras_arrays, sequence)[label] if sequence else None
            assert score == (None if expected is None else pytest.approx(expected, abs=1e-6))


def test_scores_do_not_depend_on_the_batch(
    tmp_path: Path, keras_arrays: dict[str, np.ndarray], keras_tokenizer: Any
) -> None:
    network = convert_keras(tmp_path, keras_arrays, keras_tokenizer)
    random = np.random.default_rng(0)
    words = ["you", "are", "kind", "so", "rare", "nothing"]
    texts = [" ".join(random.choice(words, size=1 + index % 120)) for index in range(300)]
    alone = [network.score([text], 0)[0] for text in texts]
    assert network.score(texts, 0) == [None if score is None else pytest.approx(score, abs=1e-6) for score in alone]


def test_a_keras_tokenizer_of_another_kind_is_refused(
    tmp_path: Path, keras_arrays: dict[str, np.ndarray], keras_tokenizer: Any
) -> None:
    keras_tokenizer.char_level = True
    with pytest.raises(BenchError, match=r"not implemented.*'char_level': True"):
        convert_keras(tmp_path, keras_arrays, keras_tokenizer)


def test_bilstm_has_the_six_labels() -> None:
    assert BiLSTM(label="insult").identity()["label"] == "insult"
    with pytest.raises(ValidationError, match="label"):
        BiLSTM.model_validate({"label": "rude"})


# Linear


def test_converted_linear_classifier_computes_what_sklearn_does(tmp_path: Path) -> None:
    import joblib
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    random = np.random.default_rng(0)
    words = [["lovely", "garden", "tea"], ["awful", "idiot", "liar"]]
    labels = random.integers(2, size=80)
    texts = [" ".join(random.choice([*words[label], "the", "house", "Road"], size=6)) for label in labels]
    vectorizer = TfidfVectorizer(stop_words="english")
    model = CalibratedClassifierCV(LinearSVC(dual=False), ensemble=True).fit(vectorizer.fit_transform(texts), labels)
    joblib.dump(model, tmp_path / "model")
    joblib.dump(vectorizer, tmp_path / "vectorizer")
    (tmp_path / "made").mkdir()
    Linear().convert([tmp_path / "model", tmp_path / "vectorizer"], tmp_path / "made")
    ensemble = linear.load_linear(tmp_path / "made")
    probes = ["You IDIOT, you liar! liar", "a lovely garden", "house", "idiot garden garden the road"]
    expected = model.predict_proba(vectorizer.transform(probes))[:, 1]
    assert ensemble.probabilities(probes) == pytest.approx(list(expected), abs=1e-12)
    alone = [ensemble.probabilities([text])[0] for text in probes]
    assert alone == pytest.approx(ensemble.probabilities(probes), abs=1e-15)
    assert expected[0] > 0.8 > 0.2 > expected[1]
    (known,) = ensemble.probabilities(["idiot"])
    assert ensemble.probabilities(["", " \n", "idiot", "the of", "zzz"]) == [None, None, known, None, None]
    assert ensemble.probabilities(["", "zzz"]) == [None, None]
    joblib.dump(TfidfVectorizer(ngram_range=(1, 2)).fit(texts), tmp_path / "vectorizer")
    with pytest.raises(BenchError, match="not implemented"):
        Linear().convert([tmp_path / "model", tmp_path / "vectorizer"], tmp_path / "made")


# All of them


def test_identities_need_nothing_at_hand() -> None:
    for name in ("bilstm", "linear", "detoxify", "words"):
        identity = SCORERS[name]().identity()
        assert json.loads(json.dumps(identity)) == identity
        assert {asset.locator: asset.sha256 for asset in SCORERS[name]().assets()} == identity.get("files", {})


@pytest.mark.network
@pytest.mark.parametrize("scorer", [BiLSTM(), Linear()])
def test_real_classifiers_tell_insults_from_courtesies(scorer: BiLSTM | Linear) -> None:
    scorer.prepare(Silent())
    rude = scorer.score(["You are a stupid idiot.", "shut up you moron", "what a piece of shit"])
    kind = scorer.score(["Have a nice day.", "The river runs past the old mill.", "Thank you for your help."])
    assert min(score for score in rude if score is not None) > 0.8
    assert max(score for score in kind if score is not None) < 0.2
    assert scorer.score(["", "  \n"]) == [None, None]
