"""A tokenizer's chat template: prompts and answers as the texts that a chat model reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench.core.chat import ChatInfo, ChatSettings
from bench.core.errors import UsageError
from bench.core.hashing import sha256_texts
from bench.core.passes.prompts import begins_texts, prompt_ids
from bench.core.values import PreferencePair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, Any]

PROBE = "Is it so?"
CLOSED = "It is."
TRANSCRIPT = re.compile(r"\s*Human:.*\n\nAssistant:\s*", re.DOTALL)
SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")
SPEAKERS = {"Human": "user", "Assistant": "assistant"}
OFF = "set apply_chat_template: false to leave chat templates out"


@dataclass(frozen=True)
class ChatTemplate:
    """One of a tokenizer's chat templates and the system prompt that goes with it.

    Texts are what `tokenizer.apply_chat_template` gives, but for a beginning-of-text token that the tokenizer adds by
    itself to every text: that would stand there twice. So they are tokenised as any other text.
    """

    tokenizer: PreTrainedTokenizerBase
    text: str
    """The template itself."""
    name: str | None
    """None where the tokenizer has one alone."""
    system_prompt: str | None

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, settings: ChatSettings) -> ChatTemplate:
        """The template that the settings name.

        Raises:
            UsageError: there is none of that name, or it has no place for the system prompt.
        """
        name, text = _choose(tokenizer.chat_template, settings.template)
        chat = cls(tokenizer, text, name, settings.system_prompt or None)
        chat._check_system_prompt()
        return chat

    @property
    def info(self) -> ChatInfo:
        """What a record says of it."""
        return ChatInfo(template=self.name, sha256=sha256_texts([self.text]), system_prompt=self.system_prompt)

    def opened(self, question: str, origin: str) -> str:
        """The text that ends where a model's answer to `question` begins.

        Arguments:
            origin: names the question in messages.

        Raises:
            UsageError: the question is blank, or the template refuses or alters it.
        """
        return self._asked([{"role": "user", "content": question}], origin)

    def answered(self, pair: PreferencePair, origin: str, *, closed: bool = True) -> PreferencePair:
        """A pair of plain texts, its prompt as the user's message and its completions as answers to it.

        A prompt that is a transcript ("Human: … Assistant:", as in Anthropic's HH) becomes a message a turn. White
        space around an answer is left out: it set the answer off from a prompt that it went on from.

        Arguments:
            closed: whether answers end where their texts end, so that the template closes them; else they are cut off
                there, as sampled text is.

        Raises:
            UsageError: as `opened` and `conversation`.
        """
        prompt = _turns(pair.prompt)
        beginning = self._asked(prompt, origin)
        whole = prompt[-1]["content"] == pair.prompt  # a transcript ends as some templates' prompts do
        if whole and self._behind_question and pair.prompt.rstrip().endswith(self._behind_question):
            raise UsageError(
                f"{origin}: the chat template has written this prompt already, as in pairs that a run exported; leave "
                "apply_chat_template at auto, under which plain texts stay as they are"
            )
        answers = pair.chosen.strip(), pair.rejected.strip()
        written = PreferencePair(beginning, answers[0], answers[1], question=str(prompt[-1]["content"]))
        if closed:
            turns = [[{"role": "assistant", "content": answer}] for answer in answers]
            written = self.conversation(prompt, *turns, origin=origin)
        return replace(written, margin=pair.margin, origin=pair.origin)

    def conversation(
        self, prompt: Sequence[Message], chosen: Sequence[Message], rejected: Sequence[Message], *, origin: str
    ) -> PreferencePair:
        """Messages as the texts that the template makes of them, as TRL's `apply_chat_template` gives them.

        A prompt that ends with the user's turn gets the generation prompt, one that ends with the assistant's is
        continued. An answer keeps the end-of-turn that the template closes it with.

        Raises:
            UsageError: the template refuses the messages, writes the prompt differently with an answer behind it, or
                writes something else than an answer says; names the row.
        """
        question = next((str(turn["content"]) for turn in reversed(prompt) if turn["role"] == "user"), "")
        prompt = self._with_system(prompt)
        beginning = self._render(prompt, origin, opened=True)
        answers = []
        for turns in (chosen, rejected):
            whole = self._render([*prompt, *turns], origin, opened=False)
            if not whole.startswith(beginning):
                length = _shared(beginning, whole)
                raise UsageError(
                    f"{origin}: the chat template writes the prompt differently with an answer behind it, so that a "
                    f"model would learn from another prompt than it is asked with: {beginning[length:][:40]!r} becomes "
                    f"{whole[length:][:40]!r}; give the tokenizer a template that does not"
                )
            answers.append(whole[len(beginning) :])
            for turn in turns:
                content = str(turn["content"]).strip()
                if turn["role"] == "assistant" and content not in answers[-1]:
                    raise UsageError(
                        f"{origin}: the chat template alters an answer, of which {content[:60]!r} is not in what it "
                        "writes; take out what it strips (as thoughts in tags), or give it another template"
                    )
        closing = _closing(answers, [str(turns[-1]["content"]).strip() for turns in (chosen, rejected)])
        return PreferencePair(beginning, answers[0], answers[1], question=question, closing=closing)

    def ends(self) -> frozenset[int]:
        """Tokens with which the template ends the assistant's turn; empty where it has no special token for that."""
        chat = [{"role": "user", "content": PROBE}, {"role": "assistant", "content": CLOSED}]
        closing = self._render(self._with_system(chat), "a chat", opened=False).rpartition(CLOSED)[2]
        ids = self.tokenizer(closing.strip(), add_special_tokens=False)["input_ids"]
        added = self.tokenizer.added_tokens_decoder
        special = {*self.tokenizer.all_special_ids, *(id for id, token in added.items() if token.special)}
        return frozenset(ids[:1]) & special

    def _asked(self, prompt: Sequence[Message], origin: str) -> str:
        """A chat that ends with the user's words, up to where the answer begins."""
        words = str(prompt[-1]["content"]).strip()
        if not words:
            raise UsageError(f"{origin} has no prompt that could be the user's message of a chat; {OFF}")
        text = self._render(self._with_system(prompt), origin, opened=True)
        if words not in text:
            raise UsageError(f"{origin}: the chat template leaves out or alters what the user says; {OFF}")
        return text

    @cached_property
    def _behind_question(self) -> str:
        """What the template writes between the user's words and the answer."""
        question = self._with_system([{"role": "user", "content": PROBE}])
        return self._render(question, "a chat", opened=True).rpartition(PROBE)[2].strip()

    @cached_property
    def _added_start(self) -> str:
        """The beginning-of-text token that the tokenizer puts before a text by itself; empty where it puts none."""
        start = self.tokenizer.bos_token
        return start if isinstance(start, str) and begins_texts(self.tokenizer) else ""

    def _with_system(self, messages: Sequence[Message]) -> list[Message]:
        if self.system_prompt is None or (messages and messages[0]["role"] == "system"):
            return list(messages)
        return [{"role": "system", "content": self.system_prompt}, *messages]

    def _render(self, messages: Sequence[Message], origin: str, *, opened: bool) -> str:
        continued = opened and messages[-1]["role"] == "assistant"
        try:
            text = str(
                self.tokenizer.apply_chat_template(
                    [dict(message) for message in messages],
                    chat_template=self.text,
                    tokenize=False,
                    add_generation_prompt=opened and not continued,
                    continue_final_message=continued,
                )
            )
        except Exception as error:  # a template may raise anything: jinja's errors, or its own choice of message
            raise UsageError(f"{origin}: the model's chat template refuses these messages: {error}") from error
        return text.removeprefix(self._added_start)

    def _check_system_prompt(self) -> None:
        """Refuse a system prompt that the template has no place for, once for all rows."""
        if self.system_prompt is None:
            return
        fault = "leaves it out"
        try:
            question = self._with_system([{"role": "user", "content": PROBE}])
            if self.system_prompt.strip() in self._render(question, "a chat", opened=True):
                return
        except UsageError as error:
            fault = f"refuses it ({error.__cause__})"
        name = f" '{self.name}'" if self.name else ""
        raise UsageError(
            f"the tokenizer's chat template{name} has no place for a system prompt: it {fault}; drop system_prompt, or "
            "write its words at the beginning of the prompts"
        )


def check_prefixes(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[PreferencePair]) -> None:
    """Make sure that the tokens of a chat's prompt are the first tokens of prompt and answer.

    Else a model would learn to answer another prompt than it is asked with. Pairs of plain texts are not looked at:
    there a word may go on across the end of the prompt.

    Raises:
        UsageError: they are not; names the row.
    """
    chats = [pair for pair in pairs if pair.question is not None]
    texts = [[pair.prompt, pair.prompt + pair.chosen, pair.prompt + pair.rejected] for pair in chats]
    distinct = list(dict.fromkeys(text for row in texts for text in row))
    ids = dict(zip(distinct, prompt_ids(tokenizer, distinct), strict=True)) if distinct else {}
    for index, (pair, row) in enumerate(zip(chats, texts, strict=True)):
        beginning, *wholes = (ids[text] for text in row)
        for label, whole in zip(("chosen", "rejected"), wholes, strict=True):
            if whole[: len(beginning)] != beginning:
                raise UsageError(
                    f"pair {pair.origin or index}: its {label} answer changes the prompt's last token, "
                    f"{tokenizer.decode(beginning[-1:])!r}, so that a model would learn from another prompt than it is "
                    "asked with; take white space off the answer's beginning, leave the pair out, or, where all pairs "
                    "are so, give the tokenizer a template whose prompt ends in a special token"
                )


def _choose(templates: str | Mapping[str, str] | None, name: str | None) -> tuple[str | None, str]:
    """Name and text of a tokenizer's template."""
    if not templates:
        raise UsageError(
            "this model's tokenizer has no chat template; use a chat model, or plain texts and apply_chat_template: "
            "false"
        )
    if isinstance(templates, str):
        if name not in (None, "default"):
            raise UsageError(f"chat_template: '{name}' is no template of this tokenizer, which has one without a name")
        return None, templates
    known = ", ".join(sorted(templates))
    if (name or "default") not in templates:
        what = f"'{name}' is none of this tokenizer's templates" if name else "this tokenizer has several templates"
        raise UsageError(f"chat_template: {what}; name one of {known}")
    return name or "default", templates[name or "default"]


def _turns(prompt: str) -> Sequence[Message]:
    """A plain prompt as messages: one of the user's, or a transcript's."""
    if TRANSCRIPT.fullmatch(prompt):
        _, *pieces = SPEAKER.split(prompt.strip())
        turns = [
            {"role": SPEAKERS[speaker], "content": words.strip()}
            for speaker, words in zip(pieces[::2], pieces[1::2], strict=True)
        ]
        if turns[-2]["role"] == "user":
            return turns[:-1]  # without the answer's own turn, which is to be written
    return [{"role": "user", "content": prompt}]


def _closing(answers: Sequence[str], words: Sequence[str]) -> str:
    """What the template wrote behind the last words of both answers; empty where that is not the same."""
    ends = [
        answer[answer.rfind(last) + len(last) :] if last else answer
        for answer, last in zip(answers, words, strict=True)
    ]
    shortest = min(ends, key=len)
    return shortest if all(end.endswith(shortest) for end in ends) else ""


def _shared(first: str, second: str) -> int:
    """How many leading characters both have in common."""
    return next((i for i, (one, other) in enumerate(zip(first, second, strict=False)) if one != other), len(first))
