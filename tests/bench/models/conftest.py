"""A tiny Gemma 3, and the same as a file that llama.cpp would write."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

PIECES = [
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<mask>",
    "\n\n",
    "▁",
    "a",
    "n",
    "d",
    "an",
    "and",
    "▁and",
    "h",
    "ha",
    "nd",
]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
N_LAYERS = 7


@pytest.fixture(scope="session")
def tiny_gemma() -> Gemma3ForCausalLM:
    """A tiny Gemma 3 whose sixth block attends to everything, the others to four tokens."""
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=len(PIECES) + len(BYTES),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=256,
        sliding_window=4,
        max_position_embeddings=128,
        tie_word_embeddings=True,
    )
    model = Gemma3ForCausalLM(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:  # steps in which one can be added and taken away again exactly
                weight.copy_(torch.randint(-512, 512, weight.shape) / 1024)
    return model


@pytest.fixture(scope="session")
def tiny_gguf(tiny_gemma: Gemma3ForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as a GGUF file: norms with one added, neither rotation base nor kinds of attention stated."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "gemma3")
    config = tiny_gemma.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(N_LAYERS)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_freq_base(1_000_000.0)
    writer.add_sliding_window(config.sliding_window)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([*PIECES, *BYTES])
    writer.add_token_scores([-float(index) for index in range(config.vocab_size)])
    writer.add_token_types([3, 3, 3, 2, 4, 4, *[1] * (len(PIECES) - 6), *[6] * len(BYTES)])
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3, N_LAYERS)
    for name, weight in tiny_gemma.named_parameters():
        stored = names.get_name(name.removesuffix(".weight"))
        writer.add_tensor(f"{stored}.weight", (weight.detach() + ("norm" in name)).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
