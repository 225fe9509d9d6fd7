"""One row of preference data, in any of the forms that are about, becomes one `PreferencePair`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.core.errors import UsageError
from bench.core.values import PreferencePair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LoadTokenizer = Callable[[], "PreTrainedTokenizerBase"]
Message = Mapping[str, Any]

FORMS = (
    "`prompt`, `chosen`, `rejected` as texts or as lists of messages, `chosen` and `rejected` alone with a common "
    "beginning, or `prompt_text`, `unpert_gen_text`, `pert_gen_text`"
)


class PairReader:
    """Turns rows into pairs. The tokenizer is loaded only if a row holds messages, which need its chat template."""

    def __init__(self, load_tokenizer: LoadTokenizer | None) -> None:
        self._load_tokenizer = load_tokenizer
        self._tokenizer: PreTrainedTokenizerBase | None = None

    def read(self, row: Any, place: str) -> PreferencePair:
        """The pair in one row.

        Arguments:
            row: what JSON or `datasets` gave.
            place: file and line, or data set and row, for messages.

        Raises:
            UsageError: the row has none of the known forms, or messages that cannot be rendered.
        """
        if not isinstance(row, Mapping):
            raise UsageError(f"{place} is not an object but {type(row).__name__}; expected {FORMS}")
        found = {key: value for key, value in row.items() if value is not None}
        if "unpert_gen_text" in found and "pert_gen_text" in found:
            return _perturbed(found, place)
        if "chosen" not in found or "rejected" not in found:
            raise UsageError(f"{place} holds no preference pair; keys: {', '.join(found) or 'none'}; expected {FORMS}")
        if isinstance(found["chosen"], list) and isinstance(found["rejected"], list):
            return self._conversation(found, place)
        return _plain(found, place)

    def _conversation(self, row: Mapping[str, Any], place: str) -> PreferencePair:
        chosen, rejected = _messages(row, "chosen", place), _messages(row, "rejected", place)
        if isinstance(row.get("prompt"), list):
            prompt = _messages(row, "prompt", place)
        else:  # no prompt, or one that repeats as text what both conversations begin with
            shared = _shared([chosen, rejected])
            prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
        if not (prompt and chosen and rejected):
            raise UsageError(f"{place}: `chosen` and `rejected` must answer one prompt, each with a message of its own")
        return render_conversation(prompt, chosen, rejected, tokenizer=self._chat_tokenizer(place), place=place)

    def _chat_tokenizer(self, place: str) -> PreTrainedTokenizerBase:
        if self._tokenizer is None:
            if self._load_tokenizer is None:
                raise UsageError(f"{place} holds messages, which only a model's chat template can turn into text")
            self._tokenizer = self._load_tokenizer()
        if not self._tokenizer.chat_template:
            raise UsageError(
                f"{place} holds messages, but this model's tokenizer has no chat template; "
                "use a chat model, or write `prompt`, `chosen` and `rejected` as plain texts"
            )
        return self._tokenizer


def render_conversation(
    prompt: Sequence[Message],
    chosen: Sequence[Message],
    rejected: Sequence[Message],
    *,
    tokenizer: PreTrainedTokenizerBase,
    place: str,
) -> PreferencePair:
    """Messages as the texts that the model's chat template makes of them.

    As in TRL's `apply_chat_template`: a prompt that ends with the user's turn gets the generation prompt, one that ends
    with the assistant's is continued, and where a template writes the prompt differently with an answer behind it, what
    all three texts begin with counts as the prompt. An answer keeps the end-of-turn that the template closes it with. A
    beginning-of-text token that the tokenizer adds by itself is left out, or it would stand there twice.

    Raises:
        UsageError: the template refuses the messages.
    """
    continued = prompt[-1]["role"] == "assistant"
    try:
        texts = [
            _render(tokenizer, prompt, add_generation_prompt=not continued, continue_final_message=continued),
            _render(tokenizer, [*prompt, *chosen]),
            _render(tokenizer, [*prompt, *rejected]),
        ]
    except Exception as error:  # a template may raise anything: jinja's errors, or its own choice of message
        raise UsageError(f"{place}: the model's chat template refuses these messages: {error}") from error
    texts = [_without_added_start(tokenizer, text) for text in texts]
    length = _shared(texts)
    return PreferencePair(texts[0][:length], texts[1][length:], texts[2][length:])


def _render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
) -> str:
    text = tokenizer.apply_chat_template(
        [dict(message) for message in messages],
        tokenize=False,
        add_generation_prompt=add_generation_prompt,
        continue_final_message=continue_final_message,
    )
    return str(text)


def _without_added_start(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    start = tokenizer.bos_token
    if isinstance(start, str) and text.startswith(start):
        added = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
        return text.removeprefix(start) if added else text
    return text


def _plain(row: Mapping[str, Any], place: str) -> PreferencePair:
    chosen, rejected = _text(row, "chosen", place), _text(row, "rejected", place)
    margin = _margin(row, place)
    if "prompt" in row:
        return PreferencePair(_text(row, "prompt", place), chosen, rejected, margin)
    length = _shared_words(chosen, rejected)
    return PreferencePair(chosen[:length], chosen[length:], rejected[length:], margin)


def _perturbed(row: Mapping[str, Any], place: str) -> PreferencePair:
    """A row of Lee et al. 2024 (arXiv 2401.01967): greedy text is chosen, text steered to toxicity is rejected."""
    prompt = _text(row, "prompt_text", place)
    chosen, rejected = (_continuation(prompt, _text(row, key, place)) for key in ("unpert_gen_text", "pert_gen_text"))
    return PreferencePair(prompt, chosen, rejected)


def _continuation(prompt: str, text: str) -> str:
    """`text` without the prompt's words if it begins with them, whatever the spacing; else set off by a space."""
    repeated = re.match(r"\s*" + r"\s+".join(map(re.escape, prompt.split())), text)
    if repeated and prompt.strip():
        rest = text[repeated.end() :]
        return rest.lstrip() if prompt[-1:].isspace() else rest
    return text if not prompt or prompt[-1:].isspace() or text[:1].isspace() else f" {text}"


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


def _text(row: Mapping[str, Any], key: str, place: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        found = "missing" if value is None else f"of type {type(value).__name__}"
        raise UsageError(f"{place}: `{key}` is {found}, not a text; expected {FORMS}")
    _check_unicode(value, key, place)
    return value


def _messages(row: Mapping[str, Any], key: str, place: str) -> list[Message]:
    for message in row[key]:
        if not (isinstance(message, Mapping) and all(isinstance(message.get(k), str) for k in ("role", "content"))):
            raise UsageError(f"{place}: `{key}` holds a message without the texts `role` and `content`: {message!r}")
        _check_unicode(message["content"], key, place)
    return list(row[key])


def _check_unicode(text: str, key: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON may spell half of a surrogate pair, which is no character
        raise UsageError(f"{place}: `{key}` has half a character (\\u{ord(text[error.start]):04x}) in it") from error


def _margin(row: Mapping[str, Any], place: str) -> float | None:
    margin = row.get("margin")
    if margin is None:
        return None
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not math.isfinite(margin):
        raise UsageError(f"{place}: `margin` is {margin!r}, not a finite number")
    return float(margin)
