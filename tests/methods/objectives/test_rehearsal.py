"""What merging will need is tried before training, and what was trained is kept where merging fails all the same."""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora.layer import Linear, ParamWrapper
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import BenchError, UsageError
from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext, PlannedAlignment
from bench.methods.objectives.dpo import DPO
from bench.methods.objectives.rehearsal import rehearse_adapter
from bench.methods.training import weights

Planted = Callable[..., list[PreferencePair]]
MakeModel = Callable[..., PreTrainedModel]
Surroundings = Callable[..., dict[str, Any]]
QUICK: dict[str, Any] = {"learning_rate": 1e-3, "batch_size": 8}
SIZES = {
    **{"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64, "moe_intermediate_size": 16},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256},
    **{"bos_token_id": 1, "eos_token_id": 0, "pad_token_id": 0, "num_experts_per_tok": 2},
}
HYBRID = {"layer_types": ["linear_attention", "full_attention"]}
FUSED: dict[str, dict[str, Any]] = {
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": {"num_experts": 4},
    "olmoe": {"num_experts": 4},
    "ernie4_5_moe": {"moe_num_experts": 4, "moe_k": 2, "moe_layer_start_index": 1},
    "glm4_moe": {"n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1},
    "minimax": {"num_local_experts": 4, "block_size": 8, **HYBRID},
    "deepseek_v3": {
        **{"n_routed_experts": 4, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1, "num_key_value_heads": 4},
        **{
            "kv_lora_rank": 8,
            "q_lora_rank": 8,
            "qk_rope_head_dim": 4,
            "v_head_dim": 8,
            "qk_nope_head_dim": 4,
            "head_dim": 4,
        },
    },
    "qwen3_next": {
        **{"num_experts": 4, "shared_expert_intermediate_size": 16, "linear_num_value_heads": 4, **HYBRID},
        **{"linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8},
    },
}
"""Architectures whose experts are one parameter, with what makes them tiny."""


def _config(family: str, tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
    return AutoConfig.for_model(family, **{**SIZES, "vocab_size": len(tokenizer), **FUSED[family]})


@pytest.mark.parametrize("family", ["mixtral", "glm4_moe"])
def test_adapters_on_fused_experts_are_merged(
    family: str,
    planted: Planted,
    tiny_tokenizer: PreTrainedTokenizerFast,
    context: AlignmentContext,
    surroundings: Surroundings,
) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(_config(family, tiny_tokenizer)).eval()
    before, values = surroundings(model, tiny_tokenizer), copy.deepcopy(model.state_dict())
    report = DPO(**QUICK).align(model, tiny_tokenizer, planted(16), context=context)
    experts = {name for name in values if name.endswith(("experts.gate_up_proj", "experts.down_proj"))}
    assert experts
    assert experts <= set(report.changed)
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, values[name])}
    assert changed == set(report.changed)
    after = surroundings(model, tiny_tokenizer)
    assert after["modules"].keys() == before["modules"].keys()
    assert after["parameters"] == before["parameters"]


@pytest.mark.parametrize("family", FUSED)
def test_adapters_on_fused_experts_pass_the_rehearsal(family: str, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    config = _config(family, tiny_tokenizer)
    before, random = config.to_dict(), torch.get_rng_state()
    rehearse_adapter(DPO(), config)
    assert config.to_dict() == before
    assert torch.equal(torch.get_rng_state(), random)


def _broken(*_: Any, **__: Any) -> None:
    raise AttributeError("'Experts' object has no attribute 'weight'")


@pytest.mark.parametrize(
    ("family", "settings", "broken", "message"),
    [
        ("mixtral", {"lora_dropout": 0.1}, None, r"lora_dropout != 0"),
        ("mixtral", {"lora_target": ("nowhere",)}, None, r"lora_target 'nowhere' names no module of Mixtral"),
        (
            "mixtral",
            {},
            (ParamWrapper, "merge"),
            r"'mixtral' model .*'Experts' object has no .* set lora_target to other",
        ),
        ("olmoe", {}, (Linear, "merge"), r"'olmoe' model .*'Experts' object has no .* set lora_target to other"),
    ],
)
def test_what_cannot_be_merged_is_refused_before_a_model_is_loaded(
    family: str,
    settings: dict[str, Any],
    broken: tuple[type, str] | None,
    message: str,
    planted: Planted,
    tiny_tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if broken is not None:
        monkeypatch.setattr(*broken, _broken)
    planned = PlannedAlignment(_config(family, tiny_tokenizer), 8, pairs=planted(8), tokenizer=tiny_tokenizer)
    with pytest.raises(UsageError, match=message):
        DPO(**settings).check(planned)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
@pytest.mark.parametrize("writable", [True, False])
def test_a_trained_adapter_is_kept_where_it_cannot_be_merged(
    writable: bool,
    planted: Planted,
    make_model: MakeModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    context: AlignmentContext,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    rescue, temporary = tmp_path / "rescue", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    if not writable:
        rescue.write_text("a file, where a folder cannot be made")
    expected = make_model("llama")
    DPO(**QUICK).align(expected, tiny_tokenizer, planted(16), context=context)
    monkeypatch.setattr(weights, "merge_adapter", _broken)
    with pytest.raises(BenchError, match=r"has no attribute 'weight'; the trained adapter is kept in") as error:
        DPO(**QUICK).align(make_model("llama"), tiny_tokenizer, planted(16), context=replace(context, rescue=rescue))
    (folder,) = (rescue if writable else temporary).glob("aligned-weights-*")
    assert re.search(r"kept in (\S+);", str(error.value))[1] == str(folder)  # type: ignore[index]
    merged = PeftModel.from_pretrained(make_model("llama"), folder).merge_and_unload()
    for name, value in merged.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name])
