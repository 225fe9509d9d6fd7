"""A Gemma 3 file as llama.cpp writes it, and what comes of it: the same model, ready to be edited."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma3ForCausalLM, Gemma3TextConfig

from bench.models.gguf import convert_gguf

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


@pytest.fixture(scope="module")
def original() -> Gemma3ForCausalLM:
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


@pytest.fixture(scope="module")
def path(original: Gemma3ForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as a GGUF file: norms with one added, neither rotation base nor kinds of attention stated."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "gemma3")
    config = original.config
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
    for name, weight in original.named_parameters():
        stored = names.get_name(name.removesuffix(".weight"))
        writer.add_tensor(f"{stored}.weight", (weight.detach() + ("norm" in name)).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def converted(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    convert_gguf(path, folder)
    return folder


def test_a_converted_gemma_computes_what_the_original_does(original, converted):
    model = AutoModelForCausalLM.from_pretrained(converted).eval()
    assert model.dtype == torch.float32
    assert all(torch.equal(value, original.state_dict()[name]) for name, value in model.state_dict().items())
    tokens = torch.arange(5, 17)[None]  # longer than the window
    with torch.no_grad():
        assert torch.equal(model(tokens).logits, original(tokens).logits)


def test_a_converted_gemma_keeps_its_windows_rotations_and_tied_weights(original, converted):
    config = AutoModelForCausalLM.from_pretrained(converted).config
    names = ("layer_types", "sliding_window", "rope_parameters", "query_pre_attn_scalar", "head_dim", "rms_norm_eps")
    for name in (*names, "tie_word_embeddings", "hidden_activation", "final_logit_softcapping", "vocab_size"):
        expected = getattr(original.config, name)
        assert getattr(config, name) == (pytest.approx(expected) if isinstance(expected, float) else expected), name
    assert config.layer_types.count("full_attention") == 1


def test_a_converted_gemma_begins_texts_with_its_start_token_and_ends_none(converted):
    tokenizer = AutoTokenizer.from_pretrained(converted)
    pieces = [tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) for text in ("hand and", "a\n\nd", "<eos>")]
    assert pieces == [["<bos>", "h", "and", "▁and"], ["<bos>", "a", "\n\n", "d"], ["<bos>", "<eos>"]]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, 1, 2)
    assert len(tokenizer) == len(PIECES) + len(BYTES)


def test_the_tables_of_a_file_are_read_once(path, tmp_path, monkeypatch):
    reader, opened = gguf.GGUFReader, []

    def counting(name: str) -> gguf.GGUFReader:
        opened.append(name)
        return reader(name)

    monkeypatch.setattr(gguf, "GGUFReader", counting)
    convert_gguf(path, tmp_path)
    assert len(opened) == 1
    assert gguf.GGUFReader is counting
