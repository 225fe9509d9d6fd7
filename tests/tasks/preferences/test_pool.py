from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast
from trl import extract_prompt
from trl.data_utils import apply_chat_template

from bench.core.errors import BenchError, UsageError
from bench.core.progress import Silent
from bench.core.values import PreferencePair
from bench.tasks.preferences.draw import Draw, prepare_preferences
from bench.tasks.preferences.noise.models import NOISE_MODELS
from bench.tasks.preferences.pool import load_pairs, make_pool, read_pool, sha256_pairs, write_pairs

CHATML = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_written_pairs_are_read_back(tmp_path: Path) -> None:
    pairs = [
        PreferencePair("Snow is", " white\u2028 and ☃", " black\n", margin=0.25),
        PreferencePair("", "yes", "no"),
    ]
    write_pairs(tmp_path / "made" / "pairs.jsonl", pairs)
    assert read_pool(tmp_path / "made" / "pairs.jsonl") == pairs


def test_blank_lines_other_columns_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    row = json.dumps({"prompt": "a", "chosen": "b", "rejected": "c", "score": 3, "margin": None})
    path.write_text(f"\ufeff{row}\r\n\n{row}", encoding="utf-8")
    assert read_pool(path) == [PreferencePair("a", "b", "c")] * 2


@pytest.mark.parametrize(
    ("chosen", "rejected", "pair"),
    [
        ("The sky is blue", "The sky is green", ("The sky is", " blue", " green")),
        ("The sky is blue", "The sky is big", ("The sky is", " blue", " big")),
        ("He runs", "He running", ("He", " runs", " running")),
        ("I am", "I am happy", ("I am", "", " happy")),
        ("Q: a\n\nA: no", "Q: a\n\nA: yes", ("Q: a\n\nA:", " no", " yes")),
        ("left", "right", ("", "left", "right")),
    ],
)
def test_a_common_beginning_is_the_prompt_and_cuts_no_word(
    tmp_path: Path, chosen: str, rejected: str, pair: tuple[str, str, str]
) -> None:
    found = read_pool(jsonl(tmp_path / "pairs.jsonl", {"chosen": chosen, "rejected": rejected}))
    assert found == [PreferencePair(*pair)]


HH = "\n\nHuman: Hi\n\nAssistant: I am here.\n\nHuman: Why?\n\nAssistant:"


@pytest.mark.parametrize(
    "transcript",
    [
        HH,
        "Human: Why?\nAssistant:",
        "### Instruction:\nSay why.\n\n### Response:",
        "Question: Why?\nAnswer:",
        "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n",
        "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n",
        "<s>[INST] Why? [/INST]",
        "<|user|>\nWhy?</s>\n<|assistant|>\n",
    ],
)
@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [(" I think so.", " I do not."), ("I think so.", "I do not."), ("Yes", "No"), (" Yes", " Yes, no")],
)
def test_a_transcript_is_cut_at_its_last_turn_and_not_within_the_answers(
    tmp_path: Path, transcript: str, chosen: str, rejected: str
) -> None:
    row = {"chosen": transcript + chosen, "rejected": transcript + rejected}
    rows = [row, row | {"question": "Why?"}] if "Why?" in transcript else [row]
    assert read_pool(jsonl(tmp_path / "pairs.jsonl", *rows)) == [PreferencePair(transcript, chosen, rejected)] * len(
        rows
    )


def test_a_common_beginning_is_cut_as_trl_cuts_it_between_words(tmp_path: Path) -> None:
    row = {"chosen": "The sky is blue, they say", "rejected": "The sky is green, they say"}
    (pair,) = read_pool(jsonl(tmp_path / "pairs.jsonl", row))
    assert extract_prompt(row) == {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}


def test_rows_of_lee_et_al_lose_the_repeated_prompt(tmp_path: Path) -> None:
    rows = [
        {
            "prompt_text": "NY 92 begins as",
            "prompt_input_ids": [1, 2],
            "unpert_gen_text": "NY 92 begins as a two-lane road",
            "pert_gen_text": " NY  92 begins as a damned road",
        },
        {"prompt_text": "NY 92 ", "unpert_gen_text": "NY 92 begins", "pert_gen_text": "ends"},
        {"prompt_text": "NY 92", "unpert_gen_text": "begins", "pert_gen_text": " ends"},
        {"prompt_text": "NY 9", "unpert_gen_text": "NY 9, a road", "pert_gen_text": "NY 92 (a path"},
    ]
    assert read_pool(jsonl(tmp_path / "split_0.jsonl", *rows)) == [
        PreferencePair("NY 92 begins as", " a two-lane road", " a damned road"),
        PreferencePair("NY 92 ", "begins", "ends"),
        PreferencePair("NY 92", " begins", " ends"),
        PreferencePair("NY 9", ", a road", "2 (a path"),
    ]


ASKED = ("Is it so?", " yes", " no")


@pytest.mark.parametrize(
    ("columns", "pair"),
    [
        ({"question": "Is it so?"}, ASKED),
        ({"query": "Is it so?", "prompt": None}, ASKED),
        ({"input": "Is it so?", "prompt": " "}, ASKED),
        ({"system": "Be brief.", "question": "Is it so?"}, ("Be brief.\n\nIs it so?", " yes", " no")),
        ({"system": "", "question": "Is it so?"}, ASKED),
        ({"system": "Be brief.", "prompt": "Is it so? "}, ("Be brief.\n\nIs it so? ", "yes", "no")),
        ({"system": "Be brief.", "prompt": "Be brief. So? "}, ("Be brief. So? ", "yes", "no")),
        ({"instruction": "Answer.", "input": "Is it so?"}, ("Answer.\n\nIs it so?", " yes", " no")),
        ({"instruction": "Is it so?", "input": ""}, ASKED),
        ({"prompt": "Is it so? ", "question": "other"}, ("Is it so? ", "yes", "no")),
        ({"question": "Is it so?", "chosen": "Is it so? yes", "rejected": "Is it so? no"}, ASKED),
        (
            {"question": "Is it so?", "chosen": "Q: Is it  so? A: yes", "rejected": "Q: Is it  so? A: no"},
            ("Q: Is it  so? A:", " yes", " no"),
        ),
    ],
)
def test_a_question_in_a_column_of_another_name_is_the_prompt(
    tmp_path: Path, columns: dict[str, str], pair: tuple[str, str, str]
) -> None:
    row = {"chosen": "yes", "rejected": "no"} | columns
    assert read_pool(jsonl(tmp_path / "pairs.jsonl", row)) == [PreferencePair(*pair)]


def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    row = {"prompt": "a", "chosen": " b", "rejected": " c", "score": 3, "none": None, "blank": "", "note": "long text"}
    notes = Notes()
    load_pairs(str(jsonl(tmp_path / "pairs.jsonl", row, row | {"more": 1})), notes)
    assert [line.partition(": ")[2] for line in notes.lines] == ["columns that are not read: score, note, more"]


def test_prompts_lost_in_a_column_that_is_not_read_are_refused(tmp_path: Path) -> None:
    rows = [{"post": f"Is {i} so?", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(3)]
    with pytest.raises(UsageError, match=r"3 of 4 pairs have no prompt, and these columns are not read: post; rename"):
        load_pairs(str(jsonl(tmp_path / "pairs.jsonl", *rows, {"prompt": "a", "chosen": " b", "rejected": " c"})))


@pytest.mark.parametrize("prompt", [{}, {"prompt": None}, {"prompt": ""}, {"id": "a1"}])
def test_pairs_that_mostly_have_no_prompt_are_said(tmp_path: Path, prompt: dict[str, str]) -> None:
    notes = Notes()
    load_pairs(str(jsonl(tmp_path / "pairs.jsonl", prompt | {"chosen": "yes", "rejected": "no"})), notes)
    assert notes.lines[-1].endswith("1 of 1 pairs have no prompt: completions are learnt without one")


def test_prompts_repeated_by_the_completions_are_refused(tmp_path: Path) -> None:
    doubled = {"prompt": "It is", "chosen": "It  is so", "rejected": " It is not"}
    good = {"prompt": "It is", "chosen": " so", "rejected": " not"}
    with pytest.raises(UsageError, match=r"4 of 6 completions begin with their prompt, which would stand twice; take"):
        load_pairs(str(jsonl(tmp_path / "pairs.jsonl", doubled, doubled, good)))
    assert len(load_pairs(str(jsonl(tmp_path / "pairs.jsonl", doubled, good, good))).pairs) == 3
    del doubled["prompt"]
    assert load_pairs(str(jsonl(tmp_path / "pairs.jsonl", doubled | {"rejected": "It  is not"}))).pairs


@pytest.fixture
def chat_tokenizer(tiny_tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer.backend_tokenizer, eos_token="<|end|>", bos_token="<|start|>"
    )
    tokenizer.chat_template = CHATML
    return tokenizer


CONVERSATIONS = [
    {"prompt": [user("Hi")], "chosen": [assistant("Good day")], "rejected": [assistant("Go away")]},
    {
        "prompt": [user("Count"), assistant("one, ")],
        "chosen": [assistant("two")],
        "rejected": [assistant("nine")],
    },
]


@pytest.mark.parametrize("row", CONVERSATIONS)
def test_messages_are_rendered_as_trl_renders_them(
    tmp_path: Path, chat_tokenizer: PreTrainedTokenizerFast, row: dict[str, list[dict[str, str]]]
) -> None:
    (pair,) = read_pool(jsonl(tmp_path / "pairs.jsonl", row), load_tokenizer=lambda: chat_tokenizer)
    theirs = apply_chat_template(row, chat_tokenizer)
    assert (pair.prompt, pair.chosen, pair.rejected) == (theirs["prompt"], theirs["chosen"], theirs["rejected"])


@pytest.mark.parametrize("prompt", [None, "Hi"])
def test_messages_with_an_implicit_prompt_are_split_at_the_last_common_turn(
    tmp_path: Path, chat_tokenizer: PreTrainedTokenizerFast, prompt: str | None
) -> None:
    chosen, rejected = [user("Hi"), assistant("Good day")], [user("Hi"), assistant("Go away")]
    row = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    path = jsonl(tmp_path / "pairs.jsonl", row)
    assert read_pool(path, load_tokenizer=lambda: chat_tokenizer) == [
        PreferencePair("<|start|>user\nHi<|end|>\n<|start|>assistant\n", "Good day<|end|>\n", "Go away<|end|>\n")
    ]


SAID = {"chosen": [assistant("Good day")], "rejected": [assistant("Go away")]}
BOTH = {side: [user("Hi"), *turns] for side, turns in SAID.items()}
TEXTS = {"chosen": "Good day", "rejected": "Go away"}
SHAREGPT = {"from": "human", "value": "Hi"}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", **SAID},
        {"question": "Hi", **SAID},
        {"messages": [user("Hi")], **SAID},
        {"messages": [user("Hi")], **TEXTS},
        {"prompt": [user("Hi")], **TEXTS},
        {"prompt": [user("Hi")], **BOTH},
        {"prompt": "Hi", "messages": BOTH["chosen"], **BOTH},
        {"conversations": [SHAREGPT], "chosen": {"from": "gpt", "value": "Good day"}, "rejected": assistant("Go away")},
    ],
)
@pytest.mark.parametrize("system", [{}, {"system": "Be kind"}])
def test_messages_in_other_layouts_are_read_as_trls_form(
    tmp_path: Path, chat_tokenizer: PreTrainedTokenizerFast, row: dict[str, Any], system: dict[str, str]
) -> None:
    turns = [{"role": "system", "content": text} for text in system.values()]
    rows = row | system, {"prompt": [*turns, user("Hi")], **SAID}
    found, expected = read_pool(jsonl(tmp_path / "pairs.jsonl", *rows), load_tokenizer=lambda: chat_tokenizer)
    assert found == expected


def test_a_beginning_token_that_the_tokenizer_adds_is_not_written_twice(
    tmp_path: Path, chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    adding, start = copy.deepcopy(chat_tokenizer), chat_tokenizer.bos_token
    adding.backend_tokenizer.post_processor = TemplateProcessing(
        single=[start, "$A"], special_tokens=[(start, chat_tokenizer.bos_token_id)]
    )
    path = jsonl(tmp_path / "pairs.jsonl", CONVERSATIONS[0])
    (pair,) = read_pool(path, load_tokenizer=lambda: adding)
    assert pair.prompt == "user\nHi<|end|>\n<|start|>assistant\n"
    assert pair.chosen == "Good day<|end|>\n"


def test_a_tokenizer_is_loaded_once_and_only_for_messages(
    tmp_path: Path, chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    loads: list[None] = []

    def load() -> PreTrainedTokenizerFast:
        loads.append(None)
        return chat_tokenizer

    read_pool(jsonl(tmp_path / "plain.jsonl", {"prompt": "a", "chosen": "b", "rejected": "c"}), load_tokenizer=load)
    assert loads == []
    read_pool(jsonl(tmp_path / "chat.jsonl", *CONVERSATIONS), load_tokenizer=load)
    assert loads == [None]


def test_messages_need_a_chat_template(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    path = jsonl(tmp_path / "chat.jsonl", CONVERSATIONS[0])
    with pytest.raises(UsageError, match=r"chat\.jsonl:1 holds messages, but .* no chat template"):
        read_pool(path, load_tokenizer=lambda: tiny_tokenizer)
    with pytest.raises(UsageError, match=r"chat\.jsonl:1 holds messages, which only a model's chat template"):
        read_pool(path)


def test_a_template_that_refuses_is_reported(tmp_path: Path, chat_tokenizer: PreTrainedTokenizerFast) -> None:
    chat_tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    path = jsonl(tmp_path / "chat.jsonl", CONVERSATIONS[0])
    with pytest.raises(UsageError, match=r"chat\.jsonl:1: .* refuses these messages: roles must alternate"):
        read_pool(path, load_tokenizer=lambda: chat_tokenizer)


GOOD = '{"prompt": "a", "chosen": "b", "rejected": "c"}\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        (GOOD + "{oops}\n", r":2 is not JSON"),
        (GOOD + '\n"text"\n', r":3 is not an object but str"),
        (GOOD + "[1]\n", r":2 is not an object but list"),
        (GOOD + '{"prompt": "a", "choosen": "b"}\n', r":2 holds no preference pair; keys: prompt, choosen"),
        (GOOD + "{}\n", r":2 holds no preference pair; keys: none"),
        (GOOD + '{"prompt": "a", "chosen": "b", "rejected": null}\n', r":2 holds no preference pair"),
        (GOOD + '{"prompt": 1, "chosen": "b", "rejected": "c"}\n', r":2: `prompt` is of type int, not a text"),
        (GOOD + '{"prompt": "a", "chosen": "b", "rejected": ["c"]}\n', r":2: `rejected` is of type list"),
        (GOOD + '{"chosen": ["b"], "rejected": ["c"]}\n', r":2: `chosen` holds a message without the texts"),
        (GOOD + '{"chosen": [], "rejected": []}\n', r":2: `chosen` and `rejected` must answer one prompt"),
        (GOOD + '{"unpert_gen_text": "a", "pert_gen_text": "b"}\n', r":2: `prompt_text` is missing"),
        (GOOD + '{"prompt": "a", "chosen": "b\\ud800", "rejected": "c"}\n', r":2: `chosen` has half a character"),
        (GOOD + GOOD.replace("}", ', "margin": NaN}'), r":2: `margin` is nan, not a finite number"),
        (GOOD + "[" * 100_000 + "\n", r":2 is not JSON"),
    ],
)
def test_a_malformed_file_is_refused_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"pairs\.jsonl" + ("" if message.startswith(":") else " ") + message):
        read_pool(path)


def test_a_file_in_another_encoding_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(GOOD.encode() + GOOD.replace("b", "é").encode("latin-1"))
    with pytest.raises(UsageError, match=r"pairs\.jsonl:2 is not UTF-8 \(byte 75\); save it as UTF-8"):
        read_pool(path)


@pytest.mark.parametrize("source", ["file:nowhere.jsonl", "nowhere.jsonl", "."])
def test_a_missing_file_is_refused(source: str) -> None:
    with pytest.raises(
        UsageError, match=r"the preference-pair file .* (does not exist|cannot be read: Is a directory)"
    ):
        load_pairs(source)


def test_a_source_drops_pairs_that_teach_nothing_and_says_so(tmp_path: Path) -> None:
    good = PreferencePair("p", " a", " b")
    path = tmp_path / "pairs.jsonl"
    write_pairs(path, [good, PreferencePair("p", " a", " a "), PreferencePair("p", "", " b"), good])
    notes = Notes()
    pool = load_pairs(f"file:{path}", notes)
    assert (pool.source, pool.pairs, pool.sha256) == (f"file:{path}", (good, good), sha256_pairs([good, good]))
    assert pool.dropped == {"empty": 1, "identical": 1}
    (line,) = notes.lines
    assert line.startswith(f"file:{path}: 2 of 4 pairs are usable; dropped: 1 empty, 1 identical (`bench pairs show`")


def test_a_source_without_a_usable_pair_is_refused() -> None:
    with pytest.raises(UsageError, match="no usable preference pair: 0 have an empty completion, 2 the same"):
        make_pool("file:x", [PreferencePair("p", " a", " a")] * 2)


def test_the_hash_is_of_texts_in_order_and_of_nothing_else() -> None:
    first, second = PreferencePair("p", "a", "b", margin=0.1), PreferencePair("pa", "", "b")
    assert sha256_pairs([first, second]) != sha256_pairs([second, first])
    assert sha256_pairs([first]) == sha256_pairs([PreferencePair("p", "a", "b")]) != sha256_pairs([first.flipped()])
    assert sha256_pairs([second]) != sha256_pairs([PreferencePair("p", "a", "b")])


def test_a_hub_data_set_is_read_at_its_revision_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None, str]] = []

    def load(name: str, *, revision: str | None, split: str) -> datasets.Dataset:
        asked.append((name, revision, split))
        return datasets.Dataset.from_list([{"prompt": None, "chosen": "I say yes", "rejected": "I say no"}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    pool = load_pairs("hub:org/some-data@v1.0#train[:10]")
    load_pairs("hub:org/some-data")
    assert asked == [("org/some-data", "v1.0", "train[:10]"), ("org/some-data", "main", "train")]
    assert pool.pairs == (PreferencePair("I say", " yes", " no"),)


def test_a_bad_hub_row_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = datasets.Dataset.from_list([{"text": "a"}])
    monkeypatch.setattr(datasets, "load_dataset", lambda name, **_: rows)
    with pytest.raises(UsageError, match="hub:org/data row 0 holds no preference pair; keys: text"):
        load_pairs("hub:org/data")


@pytest.mark.parametrize("source", ["hub:", "hub:data", "hub:org/data@", "hub:org/da ta", "hub:../etc"])
def test_a_malformed_hub_name_is_refused(source: str) -> None:
    with pytest.raises(UsageError, match="write hub:organisation/name"):
        load_pairs(source)


def test_a_hub_out_of_reach_is_reported() -> None:
    with pytest.raises(BenchError, match=r"cannot load data set org/data at main.* go online, or bring its pairs here"):
        load_pairs("hub:org/data")


@pytest.mark.parametrize("noise", sorted(NOISE_MODELS))
def test_a_pair_knows_its_line_through_draw_and_noise(tmp_path: Path, noise: str) -> None:
    rows = [{"prompt": f"p{n}", "chosen": f" good {n}", "rejected": f" bad {n}", "margin": n + 1.0} for n in range(8)]
    path = jsonl(tmp_path / "pairs.jsonl", *rows)
    pool = load_pairs(str(path))
    assert [pair.origin for pair in pool.pairs] == [f"{path}:{number}" for number in range(1, 9)]
    for pair in prepare_preferences(pool, Draw(noise_model=noise, rate=0.5)).pairs:
        assert pair.origin == f"{path}:{int(pair.prompt.removeprefix('p')) + 1}"


def test_where_a_pair_was_read_is_no_part_of_it(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "pairs.jsonl", {"prompt": "p", "chosen": " a", "rejected": " b"})
    (pair,) = read_pool(path)
    assert pair == PreferencePair("p", " a", " b")
    write_pairs(tmp_path / "again.jsonl", [pair])
    assert json.loads((tmp_path / "again.jsonl").read_text()) == {"prompt": "p", "chosen": " a", "rejected": " b"}
