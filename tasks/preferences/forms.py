"""One row of preference data, in any of the forms that are about, becomes one `PreferencePair`."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.core.chat import ChatSettings
from bench.core.errors import UsageError
from bench.core.passes.chat_template import ChatTemplate, Message
from bench.core.values import PreferencePair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LoadTokenizer = Callable[[], "PreTrainedTokenizerBase"]

FORMS = (
    "`prompt`, `chosen`, `rejected` as texts or as lists of messages, `chosen` and `rejected` alone with a common "
    "beginning, or `prompt_text`, `unpert_gen_text`, `pert_gen_text`"
)
QUESTIONS = (("prompt",), ("question",), ("instruction", "input"), ("query",), ("input",))
"""Columns that hold a prompt as text, the first that says something; `system` comes before it."""
TURNS = ("prompt", "messages", "conversations")
"""Columns that hold a prompt as messages."""
ANSWER = re.compile(
    r"^[ \t]*(?:#+ *)?(?:Assistant|AI|Bot|Response|Answer|A):|<\|im_start\|>assistant\n|<\|assistant\|>\n?|"
    r"<\|start_header_id\|>assistant<\|end_header_id\|>\n\n|<start_of_turn>model\n|\[/INST\]",
    re.MULTILINE,
)
"""How transcripts in plain text begin the assistant's turn, as HH's `Assistant:` and what chat templates write."""
ROLES = {"human": "user", "gpt": "assistant"}
"""Roles as ShareGPT names them."""


WRITTEN_OUT = re.compile(r"""\s*\[\s*\{\s*['"](role|content|from|value)['"]\s*:""")
"""How a list of messages begins where it was made a text."""


class PairReader:
    """Turns rows into pairs. The tokenizer is loaded only if a row holds messages, which need its chat template."""

    def __init__(self, load_tokenizer: LoadTokenizer | None, chat: ChatSettings | None = None) -> None:
        self._load_tokenizer = load_tokenizer
        self._chat = chat or ChatSettings()
        self.template: ChatTemplate | None = None
        """The chat template, once a row needed it."""
        self.ignored: dict[str, bool] = {}
        """Columns that were not read in some row, and whether any held what might be a prompt: words or messages."""
        self.layouts: Counter[str] = Counter()
        """Rows by what was read in them, in words."""

    def read(self, row: Any, origin: str) -> PreferencePair:
        """The pair in one row, which remembers its origin.

        Arguments:
            row: what JSON or `datasets` gave.
            origin: file and line, or data set and row, for messages.

        Raises:
            UsageError: the row has none of the known forms, or messages that cannot be rendered.
        """
        return replace(self._read(row, origin), origin=origin)

    def _read(self, row: Any, origin: str) -> PreferencePair:
        if not isinstance(row, Mapping):
            raise UsageError(f"{origin} is not an object but {type(row).__name__}; expected {FORMS}")
        fields = {key: value for key, value in row.items() if value is not None}
        if "unpert_gen_text" in fields and "pert_gen_text" in fields:
            self._ignore(fields, ["prompt_text", "unpert_gen_text", "pert_gen_text"])
            self.layouts["texts: prompt_text, unpert_gen_text (chosen), pert_gen_text (rejected)"] += 1
            return _perturbed(fields, origin)
        if "chosen" not in fields or "rejected" not in fields:
            raise UsageError(
                f"{origin} holds no preference pair; keys: {', '.join(fields) or 'none'}; expected {FORMS}"
            )
        completions = fields["chosen"], fields["rejected"]
        turns = next((key for key in TURNS if isinstance(fields.get(key), list) and fields[key]), None)
        if all(isinstance(completion, list | Mapping) for completion in completions) or (
            turns and not isinstance(fields.get("prompt"), str) and all(isinstance(text, str) for text in completions)
        ):
            return self._conversation(fields, turns, origin)
        question = _question(fields)
        self._ignore(fields, ["chosen", "rejected", "margin", *question])
        columns = ", ".join([*question, "chosen", "rejected"])
        self.layouts[f"texts: {columns}{'' if question else '; what both begin with is the prompt'}"] += 1
        return _plain(fields, origin)

    def _ignore(self, row: Mapping[str, Any], columns: Sequence[str]) -> None:
        for name, value in row.items():
            if name not in columns and value != "":
                speaks = isinstance(value, list) or (isinstance(value, str) and len(value.split()) > 1)
                self.ignored[name] = self.ignored.get(name, False) or speaks

    def _conversation(self, row: Mapping[str, Any], turns: str | None, origin: str) -> PreferencePair:
        chosen, rejected = _messages(row, "chosen", origin), _messages(row, "rejected", origin)
        columns = _question(row)
        answers = [message["role"] for message in (*chosen[:1], *rejected[:1])] == ["assistant"] * 2
        if turns == "prompt" or (turns and answers):
            columns = ["system", turns]
            prompt = _messages(row, turns, origin)
            if chosen[: len(prompt)] == rejected[: len(prompt)] == prompt:  # repeated, not said twice
                chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
        elif answers and (question := "\n\n".join(_text(row, key, origin) for key in columns if key != "system")):
            prompt = [{"role": "user", "content": question}]
        else:  # no prompt, or one that repeats as text what both conversations begin with
            shared = _shared([chosen, rejected])
            prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
        if isinstance(row.get("system"), str) and row["system"].strip() and prompt and prompt[0]["role"] != "system":
            prompt = [{"role": "system", "content": _text(row, "system", origin)}, *prompt]
        self._ignore(row, ["chosen", "rejected", "system", *columns])
        self.layouts["messages, as the model's chat template writes them"] += 1
        if not (prompt and chosen and rejected):
            raise UsageError(
                f"{origin}: `chosen` and `rejected` must answer one prompt, each with a message of its own"
            )
        return self.chat_template(f"{origin} holds messages").conversation(prompt, chosen, rejected, origin=origin)

    def chat_template(self, reason: str) -> ChatTemplate:
        """The template that writes messages as texts.

        Arguments:
            reason: why it is needed, for messages.

        Raises:
            UsageError: there is none, or it is not to be used.
        """
        if self.template is None:
            if self._chat.apply is False:
                raise UsageError(
                    f"{reason}, which only a chat template turns into text, and apply_chat_template is false; set that "
                    "to auto or true, or write `prompt`, `chosen` and `rejected` as plain texts"
                )
            if self._load_tokenizer is None:
                raise UsageError(
                    f"{reason}, which only a model's chat template can turn into text; name the model (--model)"
                )
            try:
                self.template = ChatTemplate.of(self._load_tokenizer(), self._chat)
            except UsageError as error:
                raise UsageError(f"{reason}, but {error}") from error
        return self.template


def _plain(row: Mapping[str, Any], origin: str) -> PreferencePair:
    chosen, rejected = _text(row, "chosen", origin), _text(row, "rejected", origin)
    if WRITTEN_OUT.match(chosen) and WRITTEN_OUT.match(rejected):
        raise UsageError(
            f"{origin}: `chosen` and `rejected` are messages written out as text, as in CSV; save the data set as JSON "
            "lines or parquet, which keep them as lists of messages"
        )
    margin = _margin(row, origin)
    columns = _question(row)
    question = "\n\n".join(_text(row, key, origin) for key in columns if key != "system")
    common = chosen[: _common_beginning(chosen, rejected)]
    within = " ".join(question.split()) in " ".join(common.split()) and not repeated_prompt(question, common)
    if "prompt" in columns:
        prompt = question
    elif within or not columns:  # both completions hold the question, or there is none
        prompt, chosen, rejected = common, chosen[len(common) :], rejected[len(common) :]
    else:
        prompt = question
        chosen, rejected = _continuation(prompt, chosen), _continuation(prompt, rejected)
    if "system" in columns and row["system"].strip() not in prompt:
        prompt = f"{_text(row, 'system', origin)}\n\n{prompt}"
    return PreferencePair(prompt, chosen, rejected, margin)


def _question(row: Mapping[str, Any]) -> list[str]:
    """The columns whose texts, one after the other, are the prompt; none where no column holds one."""
    says = {key for key, value in row.items() if isinstance(value, str) and value.strip()}
    question = next((keys for keys in QUESTIONS if keys[0] in says), ("prompt",) if "prompt" in row else ())
    return [key for key in ("system", *question) if question and (key in says or key == "prompt")]


def _perturbed(row: Mapping[str, Any], origin: str) -> PreferencePair:
    """A row of Lee et al. 2024 (arXiv 2401.01967): greedy text is chosen, text steered to toxicity is rejected."""
    prompt = _text(row, "prompt_text", origin)
    chosen, rejected = (_continuation(prompt, _text(row, key, origin)) for key in ("unpert_gen_text", "pert_gen_text"))
    return PreferencePair(prompt, chosen, rejected)


def _continuation(prompt: str, text: str) -> str:
    """`text` without the prompt's words if it begins with them, whatever the spacing; else set off by a space."""
    repeated = repeated_prompt(prompt, text)
    if repeated:
        rest = text[repeated:]
        return rest.lstrip() if prompt[-1:].isspace() else rest
    return text if not prompt or prompt[-1:].isspace() or text[:1].isspace() else f" {text}"


def repeated_prompt(prompt: str, text: str) -> int:
    """Characters with which `text` repeats the prompt's words, whatever the spacing; 0 where it does not."""
    repeated = re.match(r"\s*" + r"\s+".join(map(re.escape, prompt.split())), text)
    return repeated.end() if repeated and prompt.strip() else 0


def _common_beginning(chosen: str, rejected: str) -> int:
    """Length of what two completions have in common before they answer: of a transcript all up to its last turn, whose
    first words they may share as well, else see `_shared_words`."""
    answers = list(ANSWER.finditer(chosen, 0, _shared([chosen, rejected])))
    return answers[-1].end() if answers else _shared_words(chosen, rejected)


def _shared_words(first: str, second: str) -> int:
    """Length of the longest common beginning that cuts no word of either text, nor parts a word from its space.

    TRL's `extract_prompt` may cut within a word ("is b|lue", "is b|ig"), which changes how the rest is tokenised.
    """
    length = _shared([first, second])
    rests = first[length : length + 1], second[length : length + 1]
    if any(rest and not rest.isspace() for rest in rests):
        while length and not first[length - 1].isspace():
            length -= 1
    return length - 1 if length and first[length - 1] == " " else length


def _shared(sequences: Sequence[Sequence[Any]]) -> int:
    """How many leading elements all the sequences have in common."""
    columns = enumerate(zip(*sequences, strict=False))
    differs = (index for index, (first, *others) in columns if any(other != first for other in others))
    return next(differs, min(map(len, sequences)))


def _text(row: Mapping[str, Any], key: str, origin: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        fault = "missing" if value is None else f"of type {type(value).__name__}"
        raise UsageError(f"{origin}: `{key}` is {fault}, not a text; expected {FORMS}")
    _check_unicode(value, key, origin)
    return value


def _messages(row: Mapping[str, Any], key: str, origin: str) -> list[Message]:
    value = row[key]
    messages = [{"role": "assistant", "content": value}] if isinstance(value, str) else value
    messages = [_named(message) for message in ([messages] if isinstance(messages, Mapping) else messages)]
    for message in messages:
        if not (isinstance(message, Mapping) and all(isinstance(message.get(k), str) for k in ("role", "content"))):
            raise UsageError(f"{origin}: `{key}` holds a message without the texts `role` and `content`: {message!r}")
        _check_unicode(message["content"], key, origin)
    return messages


def _named(message: Any) -> Any:
    """A message with `role` and `content`, where it has ShareGPT's `from` and `value`."""
    if not (isinstance(message, Mapping) and "from" in message and "role" not in message):
        return message
    return {"role": ROLES.get(message["from"], message["from"]), "content": message.get("value")}


def _check_unicode(text: str, key: str, origin: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON may spell half of a surrogate pair, which is no character
        raise UsageError(f"{origin}: `{key}` has half a character (\\u{ord(text[error.start]):04x}) in it") from error


def _margin(row: Mapping[str, Any], origin: str) -> float | None:
    margin = row.get("margin")
    if margin is None:
        return None
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not math.isfinite(margin):
        raise UsageError(f"{origin}: `margin` is {margin!r}, not a finite number")
    return float(margin)
