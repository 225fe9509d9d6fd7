"""Tiny random classifiers made in the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from bench.core.store import hub

VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "you", "are", "kind", "vile", "so")


@pytest.fixture
def own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty caches and no hub."""
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.current_commit.cache_clear()


@pytest.fixture
def save_word_tokenizer() -> Callable[[Path], None]:
    """Saves a tokenizer of nine words into a folder."""
    return save_tokenizer


def save_tokenizer(folder: Path) -> None:
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.Sequence([normalizers.BertNormalizer(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)


@pytest.fixture
def make_classifier(tmp_path: Path) -> Callable[..., Path]:
    """Makes the folder of a classifier of two labels, or of those named."""

    def make(labels: Sequence[str] = ("fine", "toxic"), **settings: Any) -> Path:
        torch.manual_seed(0)
        folder = tmp_path / "classifier"
        config = BertConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=12,
            initializer_range=1.0,
            id2label=dict(enumerate(labels)),
            **settings,
        )
        BertForSequenceClassification(config).save_pretrained(folder)
        save_tokenizer(folder)
        return folder

    return make
