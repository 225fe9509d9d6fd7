"""Settings of tuning methods that come as one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

TuningPreset = Literal["default", "paper", "lee2024"]

_RECIPE: Mapping[str, Any] = {
    "optimizer": "rmsprop",
    "learning_rate": 1e-6,
    "batch_size": 4,
    "gradient_accumulation": 1,
    "max_grad_norm": 10.0,
    "scheduler": "constant_with_warmup",
    "warmup": 150,
    "max_length": 128,
    "max_prompt_length": 64,
    "max_completion_length": 64,
    "validation": 64,
    "evaluate_every": 100,
    "patience": 10,
}
TUNING_PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "default": {},
        "lee2024": {**_RECIPE, "tuning": "full"},
        "paper": {**_RECIPE, "tuning": "lora", "lora_rank": 64, "lora_alpha": 16, "lora_dropout": 0.1},
    }
)
"""Fields that a preset sets where they are not given.

`lee2024` is the DPO of Lee et al. 2024 (arXiv 2401.01967, table 8, and its code's configuration): all weights, RMSprop,
the norm of the gradient clipped at 10, 150 steps of linear warm-up and a constant rate after them, prompts and
completions of 64 tokens each, 64 validation pairs looked at every 100 examples, and a stop after 10 looks without gain
(the paper's 10; its code's configuration now says 30). Its `beta`, 0.1, is the default of the methods that have one.
Departures: the prompt is not repeated in front of the completion, padding is masked, and the reference model has the
policy's precision, all three unlike its code.

`paper` is the baseline of Uppaal et al. 2025 (arXiv 2405.13967): for models of 7B, adapters of rank 64 and alpha 16
with dropout 0.1 on every layer, and for the rest "default hyperparameters", which are the above. For GPT-2 it trained
all weights: there, its baseline is `lee2024`. The learning rate is the one thing in doubt: the code's default was 1e-5
when that paper first appeared and became 1e-6, which the table of Lee et al. always had, nine days later.

Neither paper says how many epochs a run may have at most. One epoch of 436 pairs (500 without the validation pairs) is
109 steps, which end inside the warm-up and before ten looks: set `epochs` or `max_steps` as the pairs ask for.
"""
