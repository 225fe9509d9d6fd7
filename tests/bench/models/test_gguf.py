"""A Gemma 3 file as llama.cpp writes it, and what comes of it: the same model, ready to be edited."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.models.gguf import convert_gguf


@pytest.fixture(scope="module")
def converted(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    convert_gguf(tiny_gguf, folder)
    return folder


def test_a_converted_gemma_computes_what_the_original_does(tiny_gemma, converted):
    model = AutoModelForCausalLM.from_pretrained(converted).eval()
    assert model.dtype == torch.float32
    assert all(torch.equal(value, tiny_gemma.state_dict()[name]) for name, value in model.state_dict().items())
    tokens = torch.arange(5, 17)[None]  # longer than the window
    with torch.no_grad():
        assert torch.equal(model(tokens).logits, tiny_gemma(tokens).logits)


def test_a_converted_gemma_keeps_its_windows_rotations_and_tied_weights(tiny_gemma, converted):
    config = AutoModelForCausalLM.from_pretrained(converted).config
    names = ("layer_types", "sliding_window", "rope_parameters", "query_pre_attn_scalar", "head_dim", "rms_norm_eps")
    for name in (*names, "tie_word_embeddings", "hidden_activation", "final_logit_softcapping", "vocab_size"):
        expected = getattr(tiny_gemma.config, name)
        assert getattr(config, name) == (pytest.approx(expected) if isinstance(expected, float) else expected), name
    assert config.layer_types.count("full_attention") == 1


def test_a_converted_gemma_begins_texts_with_its_start_token_and_ends_none(tiny_gemma, converted):
    tokenizer = AutoTokenizer.from_pretrained(converted)
    pieces = [tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) for text in ("hand and", "a\n\nd", "<eos>")]
    assert pieces == [["<bos>", "h", "and", "▁and"], ["<bos>", "a", "\n\n", "d"], ["<bos>", "<eos>"]]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, 1, 2)
    assert len(tokenizer) == tiny_gemma.config.vocab_size


def test_the_tables_of_a_file_are_read_once(tiny_gguf, tmp_path, monkeypatch):
    opened = []

    class Counting(gguf.GGUFReader):
        def __init__(self, *arguments: object) -> None:
            opened.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr(gguf, "GGUFReader", Counting)
    convert_gguf(tiny_gguf, tmp_path)
    assert len(opened) == 1
    assert gguf.GGUFReader is Counting
