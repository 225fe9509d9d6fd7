"""Weights in 4 bits while adapters are trained beside them (Dettmers et al. 2023, arXiv 2305.14314).

Imported only where bitsandbytes is installed. Tried on its CPU kernels and not yet on a GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from bitsandbytes.nn import Linear4bit, Params4bit
from peft import PeftModel

from bench.core.errors import UsageError
from bench.methods.training.weights import Weights, adapted_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer


class QuantisedWeights(Weights):
    """Linear layers but for the output head in 4-bit NormalFloat; the layers themselves wait in main memory.

    What is trained is added to the layers as they came, so that the model handed back is plain. It is not the model
    that was trained: that one had the rounding of 4 bits.
    """

    label = "nf4"

    def __init__(self, model: PreTrainedModel) -> None:
        head = cast(Any, model).get_output_embeddings()  # transformers gives it no type
        self._model, self._device = model, model.device
        self._dtypes = {name: parameter.dtype for name, parameter in model.named_parameters()}
        self._originals = {
            name: module
            for name, module in model.named_modules()
            if type(module) is torch.nn.Linear and module is not head
        }
        if not self._originals:
            raise UsageError(
                f"tuning qlora: {type(model).__name__} has no torch.nn.Linear to quantise; set tuning to lora"
            )
        for name, linear in self._originals.items():
            model.set_submodule(name, _quantised(linear, self._device))
            linear.to("cpu")
        cast(Any, model).is_loaded_in_4bit = True  # how peft and TRL know

    def keep(self, trainer: Trainer) -> tuple[str, ...]:
        adapted = cast(PeftModel, trainer.model)
        deltas = {
            name: layer.get_delta_weight("default").detach()
            for name, layer in adapted_layers(adapted.get_base_model()).items()
        }
        self.undo(trainer)
        with torch.no_grad():
            for name, delta in deltas.items():
                weight = self._model.get_parameter(name)
                weight.add_(delta.to(weight.dtype))
        return tuple(name for name, delta in deltas.items() if bool(delta.any()))

    def undo(self, trainer: Trainer | None) -> None:
        if trainer is not None:
            cast(PeftModel, trainer.model).unload()
        for name, linear in self._originals.items():
            self._model.set_submodule(name, linear.to(self._device))
        for name, parameter in self._model.named_parameters():
            parameter.data = parameter.data.to(self._dtypes[name])  # norms, that some trainers widen


def _quantised(linear: torch.nn.Linear, device: torch.device) -> Linear4bit:
    """A 4-bit copy of a layer, on `device`, where its weights are rounded on arrival."""
    copy = Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=torch.bfloat16,
        compress_statistics=True,
        quant_type="nf4",
        device="meta",
    )
    copy.weight = Params4bit(
        linear.weight.detach().cpu(), requires_grad=False, compress_statistics=True, quant_type="nf4", module=copy
    )
    copy.bias = linear.bias
    return copy.to(device)
