"""What a tokenizer shows to be impossible is refused before weights are loaded."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from bench.core.errors import BenchError
from bench.tasks.base import TASKS
from bench.tasks.capability.task import Capability
from bench.tasks.perplexity.task import Perplexity


@pytest.mark.parametrize("name", ["toxicity", "perplexity", "capability", "scrubbing"])
def test_an_ordinary_tokenizer_will_do(name: str, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    TASKS[name]().check(tiny_tokenizer)


def bare(tokenizer: PreTrainedTokenizerFast) -> Any:
    """The same without special tokens and chat template."""
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)


def test_a_chat_template_must_be_there(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(BenchError, match="has no chat template; set apply_chat_template: false"):
        Capability(apply_chat_template=True).check(bare(tiny_tokenizer))


def test_a_beginning_must_be_there(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(BenchError, match="bos: always, but the tokenizer has no beginning-of-text token"):
        Perplexity(bos="always").check(bare(tiny_tokenizer))
    with pytest.raises(BenchError, match="needs a tokenizer with a beginning- or end-of-text token"):
        Perplexity(mode="lm-eval").check(bare(tiny_tokenizer))
