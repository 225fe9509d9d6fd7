"""A model's last block as the reference code of ProFS reads it."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bench.core.errors import UsageError
from bench.methods.projection.anatomy import Anatomy

WITHOUT_PADDING_MASK = frozenset({"gpt2", "opt"})
"""Families whose last block the reference code runs a second time, on what enters it, with no attention mask: the
padding behind a text then attends to itself too, and changes averages that count padding."""
AFTER_NORM: Mapping[str, str] = MappingProxyType({"gptj": "ln_f"})
"""Families of which it keeps what transformers lists last among the hidden states: the final norm's output, with that
norm's path from the body."""
MASKABLE = ("eager", "sdpa")
"""Implementations of attention that take a mask for every query and key."""

Reading = Literal["exact", "reference"]


@contextmanager
def watched_modules(anatomy: Anatomy, depth: int, last_block: Reading) -> Iterator[tuple[nn.Module, ...]]:
    """The modules whose outputs are the residual stream after each of the first `depth` blocks.

    They are these blocks, unless the model's very last is among them and to be read as the `reference` code does; then,
    while the context lasts, that block runs without its padding mask, or the final norm stands in for it.

    Raises:
        UsageError: the padding mask is to go and the model's attention takes no other.

    Reference: Uppaal/detox-edit at f0e20db, detox.py, which calls `last_layer(hidden_states[-2])`.
    """
    blocks = anatomy.blocks[:depth]
    config: Any = anatomy.body.config
    model_type = getattr(config, "model_type", "")
    with ExitStack() as hooks:
        if last_block == "reference" and depth == len(anatomy.blocks):
            if model_type in AFTER_NORM:
                blocks = (*blocks[:-1], anatomy.body.get_submodule(AFTER_NORM[model_type]))
            elif model_type in WITHOUT_PADDING_MASK:
                implementation = config._attn_implementation  # transformers' own; there is no public name
                if implementation not in MASKABLE:
                    raise UsageError(
                        f"last_block=reference needs attention that takes a mask, {' or '.join(MASKABLE)}, and this "
                        f"model uses {implementation}; load it with attn_implementation=sdpa, or use last_block=exact"
                    )
                hooks.callback(blocks[-1].register_forward_pre_hook(_unmask_padding, with_kwargs=True).remove)
        yield blocks


def _unmask_padding(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Hand `block` a causal mask alone, whichever way the body passes its own."""
    call = inspect.signature(block.forward).bind(*args, **kwargs)
    hidden: Tensor = call.arguments["hidden_states"]
    shape = (1, 1, hidden.shape[1], hidden.shape[1])
    call.arguments["attention_mask"] = torch.full(shape, -torch.inf, dtype=hidden.dtype, device=hidden.device).triu(1)
    return call.args, call.kwargs
