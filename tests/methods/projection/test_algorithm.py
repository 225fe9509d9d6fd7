"""ProFS as its paper writes it, worked out anew with the model's own outputs and numpy, gives the same weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.projection.profs import ProFS

Matrix = NDArray[np.float64]


def embeddings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[Matrix]:
    """Of every block's output, before any final norm, the mean over a text's tokens: (texts, d_model) each."""
    blocks: Any = model.transformer.h if hasattr(model, "transformer") else model.model.layers
    rows: list[list[Matrix]] = [[] for _ in blocks]

    def note(block: int, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        rows[block].append(hidden[0].mean(dim=0).double().numpy())

    handles = [
        block.register_forward_hook(lambda _, inputs, output, number=number: note(number, output))
        for number, block in enumerate(blocks)
    ]
    with torch.no_grad():
        for text in texts:
            model(torch.tensor([tokenizer(text)["input_ids"]]))
    for handle in handles:
        handle.remove()
    return [np.stack(block) for block in rows]


@pytest.mark.parametrize("rank", [1, 3])
def test_the_steps_by_hand_give_the_same_weights(
    rank: int,
    tiny_model: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    planted: Callable[..., list[PreferencePair]],
    half_flipped: Callable[[Sequence[PreferencePair]], list[PreferencePair]],
    context: AlignmentContext,
) -> None:
    pairs = half_flipped(planted(14))
    edited = copy.deepcopy(tiny_model)
    ProFS(rank=rank, layers="all").align(edited, tiny_tokenizer, pairs, context=context)
    toxic = embeddings(tiny_model, tiny_tokenizer, [pair.prompt + pair.rejected for pair in pairs])
    harmless = embeddings(tiny_model, tiny_tokenizer, [pair.prompt + pair.chosen for pair in pairs])
    gpt2 = hasattr(tiny_model, "transformer")
    name = "transformer.h.{}.mlp.c_proj.weight" if gpt2 else "model.layers.{}.mlp.down_proj.weight"
    for layer, (x_plus, x_minus) in enumerate(zip(toxic, harmless, strict=True)):
        mu = x_minus.mean(axis=0)
        away_from_mu = np.eye(len(mu)) - np.outer(mu, mu) / (mu @ mu)
        _, _, v_transposed = np.linalg.svd((x_plus - x_minus) @ away_from_mu)  # equation 1
        p_toxic = sum(np.outer(v, v) for v in v_transposed[:rank])  # equation 2
        original = tiny_model.state_dict()[name.format(layer)].double().numpy()
        keep = np.eye(len(mu)) - p_toxic
        expected = original @ keep if gpt2 else keep @ original  # equation 3; GPT-2 stores the transpose
        actual = edited.state_dict()[name.format(layer)].double().numpy()
        assert actual == pytest.approx(expected, abs=1e-5 * np.abs(original).max())
        assert np.abs(actual - original).max() > 1e-2 * np.abs(original).max()
