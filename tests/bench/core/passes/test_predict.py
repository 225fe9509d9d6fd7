"""Passes of a frozen model leave no trace: of the model, of the process, of what it is a part of."""

from __future__ import annotations

import ast
import logging
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

import bench
from bench.core.passes.predict import Batch, FrozenPass
from bench.methods.pairs.passages import Passage
from bench.methods.projection.anatomy import locate
from bench.methods.projection.embeddings import Embedder, EmbeddingStore
from bench.tasks.outputs.continuations import GenerationSettings
from bench.tasks.outputs.generate import prompt_rows
from bench.tasks.outputs.losses import WindowLosses
from bench.tasks.outputs.windows import Window
from bench.tasks.outputs.writer import Writer
from bench.tasks.texts.prompts import make_prompt
from bench.tasks.toxicity.divergence import Reader

TOPS = [Path(bench.__file__).parent / top for top in (".", "methods", "tasks", "leaderboard")]
TOKENS = ((5, 6, 7, 8), (9, 10))


class Lengths(FrozenPass[str]):
    """Keeps what it was shown."""

    def __init__(self, stop: Callable[[], None] = lambda: None) -> None:
        super().__init__(nn.Linear(2, 2), torch.device("cpu"), padding=7)
        self.stop = stop
        self.shown: list[tuple[Sequence[str], Batch]] = []

    def tokens(self, row: str) -> Sequence[int]:
        return [ord(letter) for letter in row]

    def process(self, rows: Sequence[str], batch: Batch) -> None:
        self.stop()
        self.shown.append((rows, batch))


def embedding_pass(model, tokenizer):
    anatomy = locate(model)
    rows = [Passage(tokens, 0, len(tokens)) for tokens in TOKENS]
    return Embedder(anatomy, anatomy.blocks[:1], EmbeddingStore(), padding_id=0), rows


def writing_pass(model, tokenizer):
    settings = GenerationSettings(max_new_tokens=3, temperature=1.0)
    return Writer(model, tokenizer, settings, 0), prompt_rows(tokenizer, [make_prompt("You"), make_prompt("I")], 1)


def loss_pass(model, tokenizer):
    return WindowLosses(model, [Window(index, tokens, 1) for index, tokens in enumerate(TOKENS)]), [0, 1]


def reading_pass(model, tokenizer):
    return Reader(model, TOKENS, lambda index, log_probabilities: None), [0, 1]


passes = pytest.mark.parametrize("make", [embedding_pass, writing_pass, loss_pass, reading_pass])


@passes
def test_a_pass_leaves_the_model_and_the_process_as_they_are(make, tiny_model, tiny_tokenizer, monkeypatch):
    for name, value in {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "1"}.items():
        monkeypatch.setenv(name, value)  # inside a cluster's job a pass is one process all the same
    before = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}
    flags = [parameter.requires_grad for parameter in tiny_model.parameters()]
    work, rows = make(tiny_model, tiny_tokenizer)
    assert isinstance(work, FrozenPass) and not list(work.children()), "Lightning would move the model"
    log = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    state, handler, level = torch.get_rng_state(), signal.getsignal(signal.SIGINT), log.level
    done: list[float] = []
    work.run([rows[:1], rows[1:]], done.append)
    assert done == [1, 1]
    assert torch.equal(torch.get_rng_state(), state)
    assert signal.getsignal(signal.SIGINT) is handler and log.level == level
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny_model.state_dict().items())
    assert [parameter.requires_grad for parameter in tiny_model.parameters()] == flags
    assert not tiny_model.training
    loss = tiny_model(input_ids=torch.tensor([TOKENS[0]]), labels=torch.tensor([TOKENS[0]])).loss
    loss.backward()  # what a pass has left in the model can be trained through


@passes
def test_only_the_base_knows_lightning(make, tiny_model, tiny_tokenizer):
    cls = type(make(tiny_model, tiny_tokenizer)[0])
    assert cls.predict_step is FrozenPass.predict_step
    assert FrozenPass.__mro__[1] is LightningModule


def test_no_other_file_makes_a_lightning_module():
    using = {
        path.relative_to(top.resolve().parent)
        for top in TOPS
        for path in top.resolve().rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and "LightningModule" in [alias.name for alias in node.names]
    }
    assert using == {Path("bench/core/passes/predict.py")}


@pytest.mark.parametrize(("side", "first"), [("right", [97, 7, 7]), ("left", [7, 7, 97])])
def test_rows_are_padded_to_the_widest(side, first):
    work = Lengths()
    work.padding_side = side
    work.run([["a", "abc"], ["ab"]], lambda rows: None)
    (rows, batch), (others, single) = work.shown
    assert (rows, others) == (["a", "abc"], ["ab"])
    assert batch["input_ids"].tolist() == [first, [97, 98, 99]]
    assert batch["attention_mask"].tolist() == [[int(token != 7) for token in first], [1, 1, 1]]
    assert batch["input_ids"].dtype == batch["attention_mask"].dtype == torch.int64
    assert single["input_ids"].tolist() == [[97, 98]]


def test_ctrl_c_interrupts_and_what_was_done_stays():
    work = Lengths()

    def stop() -> None:
        if work.shown:
            raise KeyboardInterrupt

    work.stop = stop
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        work.run([["a"], ["b"]], lambda rows: None)
    assert [rows for rows, _ in work.shown] == [["a"]]
    assert signal.getsignal(signal.SIGINT) is handler
