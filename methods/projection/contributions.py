"""What the MLPs of edited blocks add to the residual stream, and how much of it lies along the removed directions."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.passes.batching import pad_rows
from bench.methods.pairs.passages import Passage
from bench.methods.projection.anatomy import POST_NORM, Anatomy
from bench.methods.projection.subspace import Subspace

TEXTS = 4
"""Read to measure by."""


@torch.no_grad()
def stream_shares(
    anatomy: Anatomy, subspaces: Mapping[int, Subspace], passages: Sequence[Passage]
) -> tuple[dict[int, float], str]:
    """How much of what each edited block's MLP adds to the residual stream lies along its removed directions.

    What is added is what the value matrix gives, bias and all, or, where a norm stands behind it, what that norm gives.

    Arguments:
        passages: of which the first `TEXTS` are read, every token of them.

    Returns:
        By layer ‖V c‖² / ‖c‖², over all tokens; and what is to be said of a norm behind the MLP, empty without one.
    """
    ids, mask = pad_rows([passage.ids for passage in passages[:TEXTS]], max(len(p.ids) for p in passages[:TEXTS]), 0)
    device = anatomy.values[0].weight.device
    added: dict[int, Tensor] = {}
    behind_norms = set()

    def follow(layer: int, value: nn.Module, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if module is value:
            added[layer] = output
        elif inputs and inputs[0] is added.get(layer) and "norm" in type(module).__name__.lower():
            added[layer] = output
            behind_norms.add(layer)

    with ExitStack() as hooks:
        for layer in subspaces:
            value = anatomy.blocks[layer].get_submodule(anatomy.family.value)
            for module in anatomy.blocks[layer].modules():
                hook = module.register_forward_hook(
                    lambda module, inputs, output, layer=layer, value=value: follow(
                        layer, value, module, inputs, output
                    )
                )
                hooks.callback(hook.remove)
        anatomy.body(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False)
    shares = {}
    for layer, subspace in subspaces.items():
        rows = added[layer].reshape(*mask.shape, -1)[mask.bool().to(added[layer].device)].double()
        along = rows @ subspace.directions.to(rows).T
        shares[layer] = float(along.square().sum() / rows.square().sum())
    return shares, POST_NORM if behind_norms else ""
