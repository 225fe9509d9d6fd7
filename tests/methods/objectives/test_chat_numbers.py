"""Chats: TRL's own reading of conversational data and ours come to the same tokens and log-probabilities."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from datasets import Dataset

from bench.core.chat import ChatSettings
from bench.core.passes.chat_template import ChatTemplate
from bench.core.values import PreferencePair
from bench.methods.pairs.completions import tokenize_pairs
from bench.methods.pairs.likelihoods import completion_logps
from bench.methods.pairs.passages import read_passages

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*gradient_checkpointing. is deprecated")]

CHATML = (
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
WORDS = [("Say hello", "Good day", "Go away"), ("Is it late?", "Yes, it is.", "Who asks?")]


def test_dpo_reads_chats_as_trl_does(make_model, tiny_tokenizer, tmp_path: Path) -> None:
    from trl import DPOConfig, DPOTrainer

    model, tokenizer = make_model("llama"), copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = CHATML
    chat = ChatTemplate.of(tokenizer, ChatSettings())
    pairs = [chat.answered(PreferencePair(*words), "row") for words in WORDS]
    ours = tokenize_pairs(pairs, tokenizer, max_length=200, append_eos=False)
    rows = [
        {name: [{"role": role, "content": text}] for name, role, text in zip(KEYS, ROLES, words, strict=True)}
        for words in WORDS
    ]
    settings = {"report_to": "none", "use_cpu": True, "max_length": None, "bf16": False, "disable_tqdm": True}
    theirs = DPOTrainer(
        model=copy.deepcopy(model),
        args=DPOConfig(output_dir=str(tmp_path), precompute_ref_log_probs=True, **settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    ).train_dataset
    for row, pair in zip(theirs, ours, strict=True):
        assert tuple(row["prompt_ids"]) == pair.chosen.prompt == pair.rejected.prompt
        assert (tuple(row["chosen_ids"]), tuple(row["rejected_ids"])) == (pair.chosen.answer, pair.rejected.answer)
        logps = completion_logps(model, [pair.chosen, pair.rejected], "float32", lambda units: None)
        assert logps == pytest.approx([row["ref_chosen_logps"], row["ref_rejected_logps"]], rel=1e-5)
    # What is projected out is of the same tokens, prompt and answer in one.
    passages = read_passages(tokenizer, pairs, "mean", 200)
    assert [passage.ids for passage in passages.chosen] == [(*p.chosen.prompt, *p.chosen.answer) for p in ours]


KEYS = ("prompt", "chosen", "rejected")
ROLES = ("user", "assistant", "assistant")
