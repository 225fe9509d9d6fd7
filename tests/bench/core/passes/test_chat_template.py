"""Prompts and answers as a chat model reads them: special tokens once, prompts that are prefixes, faults named."""

from __future__ import annotations

import copy
from dataclasses import replace
from importlib.resources import files

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast
from trl.data_utils import _tokenize, apply_chat_template

from bench.core.chat import ChatSettings
from bench.core.errors import UsageError
from bench.core.passes.chat_template import ChatTemplate, check_prefixes
from bench.core.passes.prompts import prompt_ids
from bench.core.values import PreferencePair
from bench.methods.pairs.completions import tokenize_pairs

CHATML = (
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for message in messages %}[{{ message.role }}]{{ message.content | trim }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
PAIR = PreferencePair("Say hello", " Good day", " Go away", margin=0.5, origin="pairs.jsonl:7")


def chatty(tokenizer: PreTrainedTokenizerFast, template: str | dict[str, str], *, adds_start: bool = False):
    changed = copy.deepcopy(tokenizer)
    changed.chat_template = template
    if adds_start:
        start = changed.bos_token
        changed.backend_tokenizer.post_processor = TemplateProcessing(
            single=[start, "$A"], special_tokens=[(start, changed.bos_token_id)]
        )
    return changed


def chat(tokenizer: PreTrainedTokenizerFast, templates: str | dict[str, str] = CHATML, **settings: object):
    return ChatTemplate.of(chatty(tokenizer, templates), ChatSettings(**settings))


def test_a_plain_pair_is_a_question_and_two_answers(tiny_tokenizer):
    pair = chat(tiny_tokenizer, system_prompt="Be kind").answered(PAIR, "row")
    assert pair.prompt == "<|start|>system\nBe kind<|end|>\n<|start|>user\nSay hello<|end|>\n<|start|>assistant\n"
    assert (pair.chosen, pair.rejected) == ("Good day<|end|>\n", "Go away<|end|>\n")
    assert (pair.question, pair.closing, pair.margin, pair.origin) == ("Say hello", "<|end|>\n", 0.5, "pairs.jsonl:7")


@pytest.mark.parametrize(
    ("prompt", "turns"),
    [
        ("\n\nHuman: Hi\n\nAssistant:", [("user", "Hi")]),
        (
            "Human: Hi\n\nAssistant: Ho\n\nHuman: Well\n\nAssistant: ",
            [("user", "Hi"), ("assistant", "Ho"), ("user", "Well")],
        ),
        ("Human: Hi", [("user", "Human: Hi")]),
        ("Human: Hi\nAssistant:", [("user", "Human: Hi\nAssistant:")]),
        ("\n\nHuman: Hi\n\nAssistant: Ho\n\nAssistant:", [("user", "\n\nHuman: Hi\n\nAssistant: Ho\n\nAssistant:")]),
    ],
)
def test_a_transcript_is_a_message_a_turn(tiny_tokenizer, prompt, turns):
    pair = chat(tiny_tokenizer).answered(replace(PAIR, prompt=prompt), "row")
    written = "".join(f"<|start|>{role}\n{words}<|end|>\n" for role, words in turns)
    assert pair.prompt == f"{written}<|start|>assistant\n"
    assert pair.question == turns[-1][1]


def test_a_prompt_that_the_template_wrote_is_not_written_twice(tiny_tokenizer):
    written = chat(tiny_tokenizer).answered(PAIR, "row")
    again = PreferencePair(written.prompt, written.chosen, written.rejected)
    with pytest.raises(UsageError, match=r"pairs\.jsonl:7: the chat template has written this prompt already"):
        chat(tiny_tokenizer).answered(again, "pairs.jsonl:7")
    answer = "{% if not add_generation_prompt %} {{ messages[1].content }}{% endif %}"
    plain = "Human: {{ messages[0].content }}\n\nAssistant:" + answer
    transcript = replace(PAIR, prompt="Human: Hi\n\nAssistant:")
    assert chat(tiny_tokenizer, plain).answered(transcript, "row").prompt == transcript.prompt


def test_an_answer_that_was_cut_off_is_not_closed(tiny_tokenizer):
    pair = chat(tiny_tokenizer).answered(PAIR, "row", closed=False)
    assert (pair.chosen, pair.rejected, pair.closing) == ("Good day", "Go away", "")


@pytest.mark.parametrize(("template", "adds_start"), [(CHATML, False), (LLAMA, False), (LLAMA, True)])
def test_special_tokens_of_a_chat_come_once_as_trl_has_them(tiny_tokenizer, template, adds_start):
    tokenizer = chatty(tiny_tokenizer, template, adds_start=adds_start)
    pair = ChatTemplate.of(tokenizer, ChatSettings()).answered(PAIR, "row")
    (tokens,) = tokenize_pairs([pair], tokenizer, max_length=200, append_eos=False)
    prompt = [{"role": "user", "content": "Say hello"}]
    theirs = _tokenize(tokenizer, prompt, add_generation_prompt=True)["input_ids"]
    assert list(tokens.chosen.prompt) == theirs
    for answer, words in ((tokens.chosen, "Good day"), (tokens.rejected, "Go away")):
        whole = _tokenize(tokenizer, [*prompt, {"role": "assistant", "content": words}])["input_ids"]
        assert [*answer.prompt, *answer.answer] == whole


@pytest.mark.parametrize("name", ["cohere", "gemma", "gemma3", "lfm2", "llama3", "phi3", "qwen2_5", "qwen3"])
def test_templates_of_well_known_models_are_read_as_trl_reads_them(tiny_tokenizer, name):
    tokenizer = chatty(tiny_tokenizer, files("trl").joinpath(f"chat_templates/{name}.jinja").read_text("utf-8"))
    pair = ChatTemplate.of(tokenizer, ChatSettings()).answered(PAIR, "row")
    prompt, answer = {"role": "user", "content": "Say hello"}, {"role": "assistant", "content": "Good day"}
    beginning = _tokenize(tokenizer, [prompt], add_generation_prompt=True)["input_ids"]
    (tokens,) = tokenize_pairs([pair], tokenizer, max_length=4000, append_eos=False)
    assert list(tokens.chosen.prompt) == beginning
    assert [*beginning, *tokens.chosen.answer] == _tokenize(tokenizer, [prompt, answer])["input_ids"]
    assert not tokens.merged


def test_a_tokenizers_own_beginning_stands_before_a_chat_whose_template_writes_none(tiny_tokenizer):
    tokenizer = chatty(tiny_tokenizer, "[{{ messages[0].content }}]", adds_start=True)
    (ids,) = prompt_ids(tokenizer, [ChatTemplate.of(tokenizer, ChatSettings()).opened("Hi", "row")])
    assert ids == [tokenizer.bos_token_id, *tokenizer("[Hi]", add_special_tokens=False)["input_ids"]]


def test_an_end_is_not_appended_to_an_answer_that_the_template_closed(tiny_tokenizer):
    written = chat(tiny_tokenizer)
    closed, cut = (written.answered(PAIR, "row", closed=closed) for closed in (True, False))
    settings = {"max_length": 200, "append_eos": True}
    tokens = tokenize_pairs([closed, cut], written.tokenizer, **settings)
    ends = [list(pair.chosen.answer).count(written.tokenizer.eos_token_id) for pair in tokens]
    assert ends == [1, 1]


def test_messages_are_what_trl_makes_of_them(tiny_tokenizer):
    row = {
        "prompt": [{"role": "user", "content": "Count"}, {"role": "assistant", "content": "one, "}],
        "chosen": [{"role": "assistant", "content": "two"}],
        "rejected": [{"role": "assistant", "content": "nine"}],
    }
    written = chat(tiny_tokenizer)
    pair = written.conversation(**row, origin="row")
    theirs = apply_chat_template(row, written.tokenizer)
    assert (pair.prompt, pair.chosen, pair.rejected) == (theirs["prompt"], theirs["chosen"], theirs["rejected"])


THINKS = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
STRIPS = CHATML.replace("message.content }}", "message.content.split('</think>')[-1] }}")


@pytest.mark.parametrize(
    ("template", "pair", "message"),
    [
        (THINKS, PAIR, r"pairs\.jsonl:7: the chat template writes the prompt differently .*'<think>"),
        (STRIPS, replace(PAIR, chosen="<think>x</think>Hi"), r"pairs\.jsonl:7: the chat template alters an answer"),
        (STRIPS, replace(PAIR, prompt="a</think>b"), r"pairs\.jsonl:7: .* leaves out or alters what the user says"),
        ("{{ raise_exception('no chats today') }}", PAIR, r"pairs\.jsonl:7: .* refuses these messages: no chats today"),
        (CHATML, replace(PAIR, prompt=" "), r"pairs\.jsonl:7 has no prompt"),
    ],
)
def test_a_row_that_the_template_cannot_write_is_named(tiny_tokenizer, template, pair, message):
    with pytest.raises(UsageError, match=message):
        chat(tiny_tokenizer, template).answered(pair, "pairs.jsonl:7")


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML, "no system"),
        (CHATML.replace("{% for message in messages %}", "{% for message in messages[-1:] %}"), "leaves it out"),
    ],
)
def test_a_template_without_a_place_for_the_system_prompt_says_so_once(tiny_tokenizer, template, fault):
    assert chat(tiny_tokenizer, template).opened("Hi", "row")
    with pytest.raises(UsageError, match=rf"no place for a system prompt: it .*{fault}.*; drop system_prompt"):
        chat(tiny_tokenizer, template, system_prompt="Be kind")


def test_a_chats_own_system_message_stays(tiny_tokenizer):
    turns = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}]
    answer = [{"role": "assistant", "content": "Ho"}]
    pair = chat(tiny_tokenizer, system_prompt="Be kind").conversation(turns, answer, answer, origin="row")
    assert "Be brief" in pair.prompt
    assert "Be kind" not in pair.prompt


def test_one_of_several_templates_is_taken_by_its_name(tiny_tokenizer):
    several = {"default": CHATML, "short": LLAMA}
    assert chat(tiny_tokenizer, several).text == CHATML
    named = chat(tiny_tokenizer, several, template="short")
    assert (named.text, named.info.template) == (LLAMA, "short")
    assert named.info.sha256 != chat(tiny_tokenizer, several).info.sha256
    assert named.info.identity() == chat(tiny_tokenizer, LLAMA).info.identity()


@pytest.mark.parametrize(
    ("templates", "name", "message"),
    [
        (None, None, "no chat template"),
        (CHATML, "short", "'short' is no template of this tokenizer, which has one"),
        ({"short": CHATML, "long": LLAMA}, None, "several templates; name one of long, short"),
        ({"default": CHATML, "long": LLAMA}, "short", "'short' is none of .*; name one of default, long"),
    ],
)
def test_a_template_that_is_not_there_is_named(tiny_tokenizer, templates, name, message):
    with pytest.raises(UsageError, match=message):
        chat(tiny_tokenizer, templates, template=name)


def test_a_turn_ends_where_the_template_ends_it(tiny_tokenizer):
    assert chat(tiny_tokenizer).ends() == {tiny_tokenizer.eos_token_id}
    assert chat(tiny_tokenizer, "{% for message in messages %}{{ message.content }}\n{% endfor %}").ends() == set()


def test_a_prompt_whose_last_token_an_answer_changes_is_named():
    vocabulary = {"<e>": 0, "a": 1, "b": 2, "\n": 3, "\n\n": 4}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[("\n", "\n")]))
    backend.pre_tokenizer = pre_tokenizers.Sequence([])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<e>")
    good = PreferencePair("a\n", "b", "b\n", origin="pairs.jsonl:1", question="a")
    check_prefixes(tokenizer, [good])
    bad = replace(good, rejected="\nb", origin="pairs.jsonl:2")
    with pytest.raises(UsageError, match=r"pairs\.jsonl:2: its rejected answer changes the prompt's last token"):
        check_prefixes(tokenizer, [good, bad])
    check_prefixes(tokenizer, [replace(bad, question=None)])
