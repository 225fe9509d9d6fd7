"""Pairs as chats: which are, what they become, and what stays of them when noise is added."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from bench.core.chat import ChatSettings
from bench.core.errors import UsageError
from bench.core.passes.chat_template import ChatTemplate
from bench.core.progress import Progress, Silent
from bench.core.values import PreferencePair
from bench.tasks.outputs.continuations import Continuation
from bench.tasks.preferences import samples
from bench.tasks.preferences.noise.texts import near_copy
from bench.tasks.preferences.on_policy import OnPolicySettings, build_pairs, cached_pairs
from bench.tasks.preferences.pool import load_pairs, make_pool, write_pairs
from bench.tasks.scorers.base import SCORERS, Scorer

CHATML = (
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
PLAIN = {"prompt": "Hi", "chosen": " Good day", "rejected": " Go away"}
CHAT = {
    "prompt": [{"role": "user", "content": "Hi"}],
    "chosen": [{"role": "assistant", "content": "Good day"}],
    "rejected": [{"role": "assistant", "content": "Go away"}],
}
WRITTEN = PreferencePair("<|start|>user\nHi<|end|>\n<|start|>assistant\n", "Good day<|end|>\n", "Go away<|end|>\n")


@pytest.fixture
def tokenizer(tiny_tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    changed = copy.deepcopy(tiny_tokenizer)
    changed.chat_template = CHATML
    return changed


def pool_of(path: Path, tokenizer: Any, *rows: Mapping[str, Any], **chat: Any) -> Any:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return load_pairs(f"file:{path}", load_tokenizer=lambda: tokenizer, chat=ChatSettings(**chat))


@pytest.mark.parametrize(
    ("rows", "apply", "written"),
    [
        ([PLAIN], "auto", [PreferencePair(*PLAIN.values())]),
        ([PLAIN], False, [PreferencePair(*PLAIN.values())]),
        ([PLAIN], True, [WRITTEN]),
        ([CHAT], "auto", [WRITTEN]),
        ([CHAT], True, [WRITTEN]),
        ([PLAIN, CHAT], "auto", [WRITTEN, WRITTEN]),
    ],
)
def test_a_template_writes_all_pairs_or_none(tmp_path, tokenizer, rows, apply, written):
    pool = pool_of(tmp_path / "pairs.jsonl", tokenizer, *rows, apply=apply)
    assert list(pool.pairs) == written
    assert pool.sha256 == make_pool("x", written).sha256
    assert (pool.chat is not None) is (written[0] == WRITTEN)


def test_messages_without_a_template_are_refused(tmp_path, tokenizer):
    with pytest.raises(UsageError, match=r"pairs\.jsonl:1 holds messages.*apply_chat_template is false"):
        pool_of(tmp_path / "pairs.jsonl", tokenizer, CHAT, apply=False)


def test_plain_pairs_and_no_template_are_refused_where_one_is_asked_for(tmp_path, tiny_tokenizer):
    with pytest.raises(
        UsageError, match="apply_chat_template is true, but this model's tokenizer has no chat template"
    ):
        pool_of(tmp_path / "pairs.jsonl", tiny_tokenizer, PLAIN, apply=True)


def test_an_answer_that_says_nothing_is_empty_though_the_template_closes_it(tmp_path, tokenizer):
    silent = {**CHAT, "rejected": [{"role": "assistant", "content": " "}]}
    pool = pool_of(tmp_path / "pairs.jsonl", tokenizer, CHAT, silent)
    assert (len(pool.pairs), pool.dropped) == (1, {"empty": 1})


def test_what_is_written_to_a_file_is_read_again_as_it_is(tmp_path, tokenizer):
    pool = pool_of(tmp_path / "pairs.jsonl", tokenizer, CHAT)
    write_pairs(tmp_path / "kept.jsonl", pool.pairs)
    assert load_pairs(f"file:{tmp_path / 'kept.jsonl'}").sha256 == pool.sha256


@pytest.mark.parametrize("byte", range(7))
def test_a_near_copy_leaves_the_marks_of_a_chat_alone(tokenizer, byte):
    pair = ChatTemplate.of(tokenizer, ChatSettings()).answered(PreferencePair("Hi", "Good day", "Go away"), "row")
    changed = near_copy(pair, bytes([byte, byte]) * 16)
    for text, before in ((changed.chosen, pair.chosen), (changed.rejected, pair.rejected)):
        assert text != before
        assert text.endswith("<|end|>\n")
        assert text.count("<|") == 1


class Digits(Scorer):
    """The digit that a text ends with, as a share."""

    def identity(self) -> Mapping[str, Any]:
        return {"name": "digits"}

    def prepare(self, progress: Progress) -> None:
        pass

    def score(self, texts: Sequence[str]) -> list[float | None]:
        return [int(text[-1]) / 10 for text in texts]


def test_sampled_pairs_are_questions_that_the_model_answered(tmp_path, tokenizer, monkeypatch):
    seen: list[str] = []

    def generate(model: Any, tokenizer: Any, prompts: Any, settings: Any, **rest: Any) -> list[Continuation]:
        seen.extend(prompt.text for prompt in prompts)
        assert rest["ends"] == ({tokenizer.eos_token_id} if "<|start|>" in seen[-1] else set())
        return [
            Continuation(prompt.id, number, f"\nsay {9 * number}", 3, False) for prompt in prompts for number in (0, 1)
        ]

    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(samples, "generate", generate)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Once more"}\n')
    with SCORERS.temporarily("digits", Digits):
        settings = OnPolicySettings(prompts=f"file:{tmp_path / 'prompts.jsonl'}", samples=2, scorer="digits")
        chat = ChatTemplate.of(tokenizer, ChatSettings())
        known = {"model_fingerprint": "m"}
        ways = {"load_model": lambda: (None, tokenizer), "progress": Silent(), **known}
        plain, asked = build_pairs(settings, **ways), build_pairs(settings, **ways, chat=chat)
        assert cached_pairs(settings, **known) == plain
        assert cached_pairs(settings, **known, chat=chat) == asked
        other = ChatTemplate.of(tokenizer, ChatSettings(system_prompt="Be kind"))
        assert cached_pairs(settings, **known, chat=other) is None
    beginning = "<|start|>user\nOnce more<|end|>\n<|start|>assistant\n"
    assert seen == ["Once more", beginning]
    assert plain.pairs == (PreferencePair("Once more", "\nsay 0", "\nsay 9", margin=0.9),)
    assert asked.pairs == (PreferencePair(beginning, "say 0", "say 9", margin=0.9),)
    assert asked.chat == chat.info
