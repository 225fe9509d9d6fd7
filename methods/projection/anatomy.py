"""Where each model family keeps its blocks and the MLP matrices that write the residual stream: one table of data."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bench.core.errors import UsageError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

POST_NORM = (
    "a norm after the MLP rescales what the value matrix writes before it reaches the residual stream; "
    "the matrix itself is projected, as in the paper's equation"
)


@dataclass(frozen=True, slots=True)
class Family:
    """Paths of the parts of one architecture, as attribute names joined by dots."""

    body: str
    """From the causal language model to the module that runs embeddings and blocks, without the LM head."""
    blocks: str
    """From the body to its list of blocks."""
    value: str
    """From a block to the MLP's second matrix, the one that writes the residual stream."""
    keys: tuple[str, ...]
    """From a block to the matrices of the MLP that read the residual stream: one, or gate and up."""
    transposed: bool = False
    """Whether weights are stored (inputs, outputs), as GPT-2's Conv1D does, and not (outputs, inputs), as Linear does.
    """
    note: str = ""
    """What a reader of the edit should know."""


KEYS_UNKNOWN = (
    "weights=key and weights=both need the matrices that read the residual stream, and those of this architecture are "
    "not in the table of families; use weights=value"
)
"""Why `weights` other than `value` are refused where the family was found by structure."""
GATED = ("mlp.gate_proj", "mlp.up_proj")

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "gpt2": Family("transformer", "h", "mlp.c_proj", ("mlp.c_fc",), transposed=True),
        "gpt_neo": Family("transformer", "h", "mlp.c_proj", ("mlp.c_fc",)),
        "gptj": Family("transformer", "h", "mlp.fc_out", ("mlp.fc_in",)),
        "gpt_neox": Family("gpt_neox", "layers", "mlp.dense_4h_to_h", ("mlp.dense_h_to_4h",)),
        "opt": Family("model.decoder", "layers", "fc2", ("fc1",)),
        "llama": Family("model", "layers", "mlp.down_proj", GATED),
        "mistral": Family("model", "layers", "mlp.down_proj", GATED),
        "qwen2": Family("model", "layers", "mlp.down_proj", GATED),
        "qwen3": Family("model", "layers", "mlp.down_proj", GATED),
        "gemma": Family("model", "layers", "mlp.down_proj", GATED),
        "gemma2": Family("model", "layers", "mlp.down_proj", GATED, note=POST_NORM),
        "gemma3": Family("model.language_model", "layers", "mlp.down_proj", GATED, note=POST_NORM),
        "gemma3_text": Family("model", "layers", "mlp.down_proj", GATED, note=POST_NORM),
        "phi": Family("model", "layers", "mlp.fc2", ("mlp.fc1",)),
        "phi3": Family("model", "layers", "mlp.down_proj", ("mlp.gate_up_proj",)),
        "smollm3": Family("model", "layers", "mlp.down_proj", GATED),
        "falcon": Family("transformer", "h", "mlp.dense_4h_to_h", ("mlp.dense_h_to_4h",)),
    }
)
"""By the `model_type` of a transformers configuration."""


@dataclass(frozen=True)
class Matrix:
    """One matrix of a block's MLP."""

    name: str
    """Of the module, from the model's root: its parameters are `name.weight` and `name.bias`."""
    weight: nn.Parameter
    bias: nn.Parameter | None
    stream_last: bool
    """Whether the weight's second axis is the residual stream's, and not its first."""
    writes: bool
    """Whether it writes the residual stream, and not reads it."""


@dataclass(frozen=True)
class Anatomy:
    """The parts of one loaded model."""

    family: Family
    body: nn.Module
    blocks: tuple[nn.Module, ...]
    values: tuple[Matrix, ...]
    """One a block."""
    keys: tuple[tuple[Matrix, ...], ...]
    """One or two a block; empty where the family was found by structure and its keys are not known."""


def check_config(config: Any, *, keys: bool = False) -> None:
    """Refuse models that cannot be edited, from their transformers configuration alone.

    An architecture that the table does not know is built without weights and searched.

    Arguments:
        config: of transformers.
        keys: whether the matrices that read the residual stream are to be edited.

    Raises:
        UsageError: quantised, encoder-decoder, post-norm OPT, an architecture in which no value matrix is found, or one
            whose keys are wanted and not known.
    """
    if getattr(config, "quantization_config", None) is not None:
        raise UsageError(
            "the model is quantised, and an edit of packed weights would be rounded away; use the unquantised weights"
        )
    if config.is_encoder_decoder:
        raise UsageError(f"'{config.model_type}' is an encoder-decoder; only decoder-only language models are edited")
    if config.model_type == "opt" and not config.do_layer_norm_before:
        raise UsageError(
            "this OPT normalises the residual stream after each block (do_layer_norm_before=false, as OPT-350m), so "
            "that editing a value matrix would not remove a direction from it; use another size of OPT"
        )
    if config.model_type not in FAMILIES:
        if keys:
            raise UsageError(f"'{config.model_type}': {KEYS_UNKNOWN}")
        import torch
        from transformers import AutoModelForCausalLM

        architectures: Any = AutoModelForCausalLM  # whose from_config carries no types
        try:
            with torch.device("meta"):
                skeleton = architectures.from_config(config)
        except ValueError as error:
            raise UsageError(
                f"transformers has no causal language model for '{config.model_type}'; "
                f"known families: {', '.join(sorted(FAMILIES))}"
            ) from error
        find_family(skeleton)


def locate(model: PreTrainedModel) -> Anatomy:
    """The parts of `model`, in memory and editable.

    Raises:
        UsageError: unknown architecture, a matrix that is not where it belongs, or weights that are quantised,
            offloaded, on several devices, or shared.
    """
    family = FAMILIES.get(model.config.model_type) or find_family(model)
    try:
        body = model.get_submodule(family.body)
        blocks = tuple(attrgetter(family.blocks)(body))
        stack = ".".join(part for part in (family.body, family.blocks) if part)
        named = [(f"{stack}.{layer}", block) for layer, block in enumerate(blocks)]
        values = [_matrix(block, name, family.value, family.transposed, writes=True) for name, block in named]
        keys = [
            tuple(_matrix(block, name, key, not family.transposed, writes=False) for key in family.keys)
            for name, block in named
        ]
    except AttributeError as error:
        raise UsageError(
            f"this {type(model).__name__} is not built as a '{model.config.model_type}' language model, whose MLP "
            f"matrices are {family.body}.{family.blocks}.*.{family.value}.weight: {error}; load it unquantised and "
            "with its language-model head"
        ) from error
    _refuse_unreachable(model, [*values, *(key for block in keys for key in block)])
    return Anatomy(family, body, blocks, tuple(values), tuple(keys))


def _matrix(block: nn.Module, name: str, path: str, stream_last: bool, *, writes: bool) -> Matrix:
    module: Any = block.get_submodule(path)
    return Matrix(f"{name}.{path}", module.weight, module.bias, stream_last, writes)


def find_family(model: PreTrainedModel) -> Family:
    """The parts of an architecture that the table does not know, where its structure leaves no doubt.

    A value matrix is a linear map to d_model from another width, outside attention; every block must hold exactly one
    of them, at the same path, and no stack of matrices as mixtures of experts do.

    Raises:
        UsageError: nothing or more than one thing fits; lists the modules seen.
    """
    from torch import nn

    config = model.config.get_text_config()
    stacks = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == config.num_hidden_layers
    }
    families = [
        Family(body, blocks, path, (), transposed, f"found by structure: {name}.*.{path}")
        for name, stack in stacks.items()
        for body, blocks in [_body_of(model, name)]
        for path, transposed in _common_values(stack, config.hidden_size)
    ]
    if len(families) != 1:
        block = next((stack[0] for stack in stacks.values()), model)
        seen = ", ".join(name for name, module in block.named_modules() if name and not list(module.children()))
        raise UsageError(
            f"cannot tell which matrix writes the MLP's output in a '{model.config.model_type}' "
            f"({len(families)} candidates); take a method that trains, such as dpo; "
            f"known families: {', '.join(sorted(FAMILIES))}; modules of its first block: {seen}"
        )
    return families[0]


def _body_of(model: PreTrainedModel, stack: str) -> tuple[str, str]:
    """Paths to the module that runs a stack of blocks when it is given tokens, and from there to the stack."""
    body, _, blocks = stack.rpartition(".")
    while body and "input_ids" not in inspect.signature(model.get_submodule(body).forward).parameters:
        body, _, name = body.rpartition(".")
        blocks = f"{name}.{blocks}"
    return body, blocks


def _common_values(stack: nn.ModuleList, d_model: int) -> list[tuple[str, bool]]:
    """Paths and orientations of the value matrices of a stack of blocks; empty where blocks differ or hold stacks."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    if any(parameter.ndim > 2 for parameter in stack.parameters()):
        return []
    candidates: list[list[tuple[str, bool]]] = [[] for _ in stack]
    for block, paths in zip(stack, candidates, strict=True):
        for name, module in block.named_modules():
            if isinstance(module, nn.Linear | Conv1D) and "att" not in name.lower():
                transposed = isinstance(module, Conv1D)
                wide, out = module.weight.shape if transposed else reversed(module.weight.shape)
                if out == d_model and wide != d_model:
                    paths.append((name, transposed))
    return candidates[0] if all(paths == candidates[0] for paths in candidates) else []


def _refuse_unreachable(model: PreTrainedModel, matrices: list[Matrix]) -> None:
    devices = {str(parameter.device) for parameter in model.parameters()}
    if len(devices) > 1 or "meta" in devices:
        raise UsageError(
            f"the model's weights lie on {', '.join(sorted(devices))} (device_map or offloading); "
            "load it whole on one device to edit it"
        )
    uses = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    for value in matrices:
        if not value.weight.is_floating_point() or value.weight.element_size() < 2:
            raise UsageError(f"{value.name}.weight is quantised ({value.weight.dtype}); use the unquantised weights")
        if uses[id(value.weight)] > 1:
            raise UsageError(
                f"{value.name}.weight is shared with another module, so that it cannot be edited for one block alone"
            )
