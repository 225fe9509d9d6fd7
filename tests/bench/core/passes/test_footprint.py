"""What a row takes, also where the blocks of one model differ in size."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from bench.core.passes.footprint import loss_footprint


def model(config: Any) -> PreTrainedModel:
    config.get_text_config = lambda: config
    stub = SimpleNamespace(config=config, parameters=lambda: iter([torch.zeros(1)]))
    return cast("PreTrainedModel", stub)


class Differing(SimpleNamespace):
    """As transformers has it: a size that differs between blocks cannot be asked of the whole."""

    is_heterogeneous = True

    @property
    def intermediate_size(self) -> int:
        raise RuntimeError("per-layer attribute")


def test_the_widest_block_counts_where_blocks_differ() -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100}
    widest = SimpleNamespace(**sizes, intermediate_size=64)
    blocks = [SimpleNamespace(**sizes, intermediate_size=48), widest]
    assert loss_footprint(model(Differing(**sizes, per_layer_config=blocks))) == loss_footprint(model(widest))
