"""Every family in the table, against the paper's equations worked out slowly in float64."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from bench.core.errors import UsageError
from bench.core.values import PreferencePair
from bench.methods.base import AlignmentContext
from bench.methods.projection.anatomy import FAMILIES, check_config, find_family, locate
from bench.methods.projection.profs import ProFS

RANK = 2
LLAMA_LIKE = {
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "hidden_size": 32,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
}
GPT_LIKE = {"n_layer": 2, "n_head": 2, "n_embd": 32, "n_positions": 256}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
SIGLIP = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}
LLAMA_KEYS = ("mlp.gate_proj", "mlp.up_proj")


class Case(NamedTuple):
    """One family, written from its modelling code and not from the table under test."""

    config_class: str
    settings: dict[str, Any]
    final_norm: str
    value: str
    """The MLP's second matrix in block {}."""
    keys: tuple[str, ...]
    """The matrices that read the stream, named as `value` is from the block on."""
    stored_transposed: bool = False

    def key_names(self, layer: int) -> list[str]:
        block = self.value.format(layer).partition(f".{layer}.")[0] + f".{layer}."
        return [block + key for key in self.keys]


MODELS: dict[str, Case] = {
    "gpt2": Case("GPT2Config", GPT_LIKE, "transformer.ln_f", "transformer.h.{}.mlp.c_proj", ("mlp.c_fc",), True),
    "gpt_neo": Case(
        "GPTNeoConfig",
        {
            "num_layers": 2,
            "num_heads": 2,
            "hidden_size": 32,
            "attention_types": [[["global", "local"], 1]],
            "max_position_embeddings": 256,
        },
        "transformer.ln_f",
        "transformer.h.{}.mlp.c_proj",
        ("mlp.c_fc",),
    ),
    "gptj": Case(
        "GPTJConfig", GPT_LIKE | {"rotary_dim": 8}, "transformer.ln_f", "transformer.h.{}.mlp.fc_out", ("mlp.fc_in",)
    ),
    "gpt_neox": Case(
        "GPTNeoXConfig",
        {k: v for k, v in LLAMA_LIKE.items() if k not in ("head_dim", "num_key_value_heads")},
        "gpt_neox.final_layer_norm",
        "gpt_neox.layers.{}.mlp.dense_4h_to_h",
        ("mlp.dense_h_to_4h",),
    ),
    "opt": Case(
        "OPTConfig",
        {
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "hidden_size": 32,
            "ffn_dim": 48,
            "word_embed_proj_dim": 24,
            "max_position_embeddings": 256,
        },
        "model.decoder.final_layer_norm",
        "model.decoder.layers.{}.fc2",
        ("fc1",),
    ),
    "phi": Case(
        "PhiConfig",
        {k: v for k, v in LLAMA_LIKE.items() if k != "head_dim"},
        "model.final_layernorm",
        "model.layers.{}.mlp.fc2",
        ("mlp.fc1",),
    ),
    "falcon": Case(
        "FalconConfig",
        {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32, "max_position_embeddings": 256},
        "transformer.ln_f",
        "transformer.h.{}.mlp.dense_4h_to_h",
        ("mlp.dense_h_to_4h",),
    ),
    "gemma3": Case(
        "Gemma3Config",
        {"text_config": LLAMA_LIKE | {"vocab_size": 258}, "vision_config": SIGLIP, "mm_tokens_per_image": 4},
        "model.language_model.norm",
        "model.language_model.layers.{}.mlp.down_proj",
        LLAMA_KEYS,
    ),
}
for name, config_class in {
    "llama": "LlamaConfig",
    "mistral": "MistralConfig",
    "qwen2": "Qwen2Config",
    "qwen3": "Qwen3Config",
    "gemma": "GemmaConfig",
    "gemma2": "Gemma2Config",
    "gemma3_text": "Gemma3TextConfig",
    "phi3": "Phi3Config",
    "smollm3": "SmolLM3Config",
}.items():
    keys = ("mlp.gate_up_proj",) if name == "phi3" else LLAMA_KEYS
    MODELS[name] = Case(config_class, LLAMA_LIKE, "model.norm", "model.layers.{}.mlp.down_proj", keys)


def build(name: str, vocabulary: int) -> PreTrainedModel:
    """A new two-layer model whose norms are not all the identity."""
    config = getattr(transformers, MODELS[name].config_class)(
        vocab_size=vocabulary, bos_token_id=1, eos_token_id=0, pad_token_id=0, **MODELS[name].settings
    )
    return randomised(transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32))


def randomised(model: PreTrainedModel) -> PreTrainedModel:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return model.eval()


def random_pairs(count: int, seed: int = 0) -> list[PreferencePair]:
    letters = random.Random(seed)

    def text(low: int, high: int) -> str:
        return "".join(letters.choice("abcdefgh ") for _ in range(letters.randint(low, high)))

    return [PreferencePair(text(3, 9), text(1, 15), text(1, 15)) for _ in range(count)]


def context() -> AlignmentContext:
    return AlignmentContext(seed=0, model_fingerprint="tiny", scratch=Path())


def residual_stream(model: PreTrainedModel, ids: Sequence[int], final_norm: str) -> np.ndarray:
    """Mean over one unpadded text's tokens of the stream after each block, (layers, d_model)."""
    before_norm: list[torch.Tensor] = []
    handle = model.get_submodule(final_norm).register_forward_pre_hook(lambda _, inputs: before_norm.append(inputs[0]))
    with torch.no_grad():
        states = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    handle.remove()
    return torch.stack([*states[1:-1], *before_norm])[:, 0].mean(dim=1).numpy()


def oracle(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[PreferencePair], weights: str
) -> dict[str, np.ndarray]:
    """The edited weights by arXiv 2405.13967, equations 1 to 3, one text at a time, in float64.

    A value matrix maps the MLP's inner space to the stream, y = W x, and is replaced by (I - P) W, as in equation 3. A
    key matrix maps the stream to the inner space, and what it is given is projected instead: W (I - P).
    """
    case = MODELS[model.config.model_type]
    slow = copy.deepcopy(model).double()

    def embeddings(texts: list[str]) -> np.ndarray:
        return np.stack([residual_stream(slow, tokenizer(text)["input_ids"], case.final_norm) for text in texts])

    def matrix(name: str) -> np.ndarray:
        """As it is applied, (outputs, inputs)."""
        weight = slow.get_submodule(name).weight.detach().numpy()
        return weight.T if case.stored_transposed else weight

    toxic = embeddings([pair.prompt + pair.rejected for pair in pairs])
    clean = embeddings([pair.prompt + pair.chosen for pair in pairs])
    edited = {}
    for layer in range(toxic.shape[1]):
        mean = clean[:, layer].mean(axis=0)
        centring = np.outer(mean, mean) / (mean @ mean)
        T = (toxic[:, layer] - clean[:, layer]) @ (np.eye(len(mean)) - centring)
        V = np.linalg.svd(T)[2][:RANK]
        keep = np.eye(len(mean)) - V.T @ V
        if weights != "key":
            edited[case.value.format(layer)] = keep @ matrix(case.value.format(layer))
        if weights != "value":
            edited |= {name: matrix(name) @ keep for name in case.key_names(layer)}
    return {f"{name}.weight": W.T if case.stored_transposed else W for name, W in edited.items()}


def test_oracle_covers_the_table() -> None:
    assert set(MODELS) == set(FAMILIES)


@pytest.mark.parametrize(
    ("name", "weights"),
    [*((name, weights) for name in sorted(MODELS) for weights in ("value", "both")), ("gpt2", "key"), ("llama", "key")],
)
def test_edit_equals_the_paper(name: str, weights: Any, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = build(name, len(tiny_tokenizer))
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    pairs = random_pairs(7)
    expected = oracle(model, tiny_tokenizer, pairs, weights)

    method = ProFS(rank=RANK, layers="all", batch_size=4, weights=weights)
    report = method.align(model, tiny_tokenizer, pairs, context=context())

    assert set(report.changed) == set(expected)
    assert len(report.changed) == len(expected)
    for key, tensor in model.state_dict().items():
        if key in expected:
            wanted = torch.from_numpy(expected[key])
            assert (tensor.double() - wanted).norm() < 1e-5 * wanted.norm(), key
            assert (tensor - before[key]).norm() > 1e-2 * wanted.norm(), key
        else:
            assert torch.equal(tensor, before[key]), key


@pytest.mark.parametrize("name", sorted(MODELS))
def test_structure_agrees_with_the_table(name: str, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    found, known = find_family(build(name, len(tiny_tokenizer))), FAMILIES[name]
    assert (found.body, found.blocks, found.value, found.transposed) == (
        known.body,
        known.blocks,
        known.value,
        known.transposed,
    )


def tiny_config(config_class: str, **changes: Any) -> Any:
    return getattr(transformers, config_class)(vocab_size=258, **(LLAMA_LIKE | changes))


def test_unknown_family_is_found_by_its_structure(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    config = tiny_config("OlmoConfig", pad_token_id=0, bos_token_id=1, eos_token_id=0)
    assert config.model_type not in FAMILIES
    check_config(config)
    model = randomised(transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32))
    report = ProFS(layers="1").align(model, tiny_tokenizer, random_pairs(5), context=context())
    assert report.changed == ("model.layers.1.mlp.down_proj.weight",)
    assert report.details["note"] == "found by structure: model.layers.*.mlp.down_proj"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: tiny_config("Qwen2MoeConfig", num_experts=4, moe_intermediate_size=16), ["qwen2_moe", "mlp.experts"]),
        (
            lambda: transformers.MambaConfig(vocab_size=258, hidden_size=32, num_hidden_layers=2, state_size=4),
            ["mamba", "mixer.in_proj"],
        ),
        (lambda: transformers.T5Config(vocab_size=258), ["t5", "encoder-decoder"]),
        (lambda: transformers.ViTConfig(), ["vit", "no causal language model"]),
        (lambda: transformers.OPTConfig(do_layer_norm_before=False), ["do_layer_norm_before"]),
        (
            lambda: tiny_config("LlamaConfig", quantization_config={"quant_method": "bitsandbytes"}),
            ["quantised", "unquantised"],
        ),
    ],
    ids=["mixture-of-experts", "state-space", "encoder-decoder", "not-language", "post-norm", "quantised"],
)
def test_what_cannot_be_edited_is_refused_by_its_configuration(make: Callable[[], Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        check_config(make())
    assert all(word in str(error.value) for word in words), str(error.value)


def test_shared_value_matrix_is_refused(make_model: Callable[..., PreTrainedModel]) -> None:
    model = make_model("llama")
    model.model.layers[1].mlp.down_proj.weight = model.model.layers[0].mlp.down_proj.weight
    with pytest.raises(UsageError, match=r"layers\.0\.mlp\.down_proj\.weight is shared"):
        locate(model)


def test_missing_matrix_is_refused(make_model: Callable[..., PreTrainedModel]) -> None:
    model = make_model("llama")
    with pytest.raises(UsageError, match=r"this LlamaModel is not built .* model\.layers\.\*\.mlp\.down_proj\.weight"):
        locate(model.model)
    del model.model.layers[1].mlp.down_proj
    with pytest.raises(UsageError, match="has no attribute `down_proj`"):
        locate(model)


def test_model_on_several_devices_is_refused(make_model: Callable[..., PreTrainedModel]) -> None:
    model = make_model("gpt2")
    model.transformer.h[1].to("meta")
    with pytest.raises(UsageError, match="cpu, meta"):
        locate(model)


def test_packed_weights_are_refused(make_model: Callable[..., PreTrainedModel]) -> None:
    model = make_model("llama")
    linear = model.model.layers[1].mlp.down_proj
    linear.weight = torch.nn.Parameter(linear.weight.detach().to(torch.int8), requires_grad=False)
    with pytest.raises(UsageError, match=r"down_proj\.weight is quantised .*int8"):
        locate(model)
