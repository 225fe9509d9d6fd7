"""The model under test as lm-eval sees it. Imports lm-eval and torch: import it where it is used."""

from __future__ import annotations

import copy
import inspect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jinja2.exceptions import TemplateError
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from bench.core.errors import BenchError, UsageError
from bench.core.passes.batching import Pass, run_batches
from bench.core.passes.footprint import loss_footprint, writing_footprint
from bench.core.passes.packing import can_pack, longest_packed, overlap, pack
from bench.core.passes.padding import writing_batches
from bench.core.passes.prompts import prompt_ids
from bench.core.passes.tokenizer import own_settings
from bench.core.passes.vocabulary import log_probabilities
from bench.core.progress import Advance, Progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MOST_LOGITS = 2**27
"""Logits kept of one batch: 0.5 GiB in float32. Long contexts and large vocabularies get smaller batches."""

MOST_PACKED, CPU_MOST_PACKED = 1024, 512
"""Tokens read at once where sequences are packed: each sees the others' places, to no use, so that more is slower."""

Request = tuple[tuple[str, str], list[int], list[int]]
"""Texts, tokens of the context, tokens of the continuation."""

Group = list[int]
"""Indices of requests that one sequence answers."""


class InProcessModel(HFLM):  # type: ignore[misc]  # lm-eval has no types that mypy can follow
    """lm-eval's Hugging Face model around one that is loaded already, with bounded memory and our progress display.

    Requests are tokenised by lm-eval, cut and scored as by lm-eval. What differs: batches are made up so that their
    logits stay below `MOST_LOGITS`, logits are computed only from the first position that is scored, log-probabilities
    are float32 whatever the model's precision, so that answers do not tie by rounding, and no question is closed.
    Models that `can_pack` read a batch without padding, and what several of its sequences begin with once.

    Arguments:
        model: stays as it is, on its device.
        tokenizer: copied, since it is changed.
        batch_size: most sequences at a time; see `bench.core.passes.batching`.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: int, progress: Progress
    ) -> None:
        super().__init__(
            pretrained=model, tokenizer=_not_closing(tokenizer), batch_size=batch_size, softmax_dtype="float32"
        )
        self.truncated = 0
        """Requests that left the model's window too little room, so that the beginning of their context was cut off."""
        self._most = batch_size
        self._progress = progress
        self._vocabulary: int = model.config.get_text_config().vocab_size
        self._can_keep = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._n_logits = 0
        self._most_packed = CPU_MOST_PACKED if self.device.type == "cpu" else MOST_PACKED
        window = longest_packed(model) or self.max_length
        self._longest_packed = window if can_pack(model) else 0

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """lm-eval's own, without its progress bars."""
        results: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return results

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """lm-eval's own, without its progress bars.

        Raises:
            BenchError: what is to be written leaves no room for a question, or one alone does not fit memory.
        """
        written: dict[int, str] = {}
        widths = [len(self.tok_encode(request.args[0])) for request in requests]
        lengths = [normalize_gen_kwargs(request.args[1], self.max_gen_toks)["max_gen_toks"] for request in requests]
        if max(lengths) >= self.max_length:
            raise BenchError(
                f"capability: a task has {max(lengths)} tokens written, which leaves no room for a question in the "
                f"model's window of {self.max_length}; set a smaller max_gen_toks in its YAML, or leave it out"
            )
        self.truncated += sum(width + length > self.max_length for width, length in zip(widths, lengths, strict=True))
        with self._progress.track("capability", len(requests)) as advance:
            work = Pass[int](
                what="question",
                width=lambda index: widths[index],
                footprint=writing_footprint(self.model, max(lengths)),
                run=lambda batches: self._write(requests, batches, written, advance),
                is_finished=lambda index: index in written,
                together=writing_batches(self.model),
            )
            run_batches(work, range(len(requests)), self._most, self.device, self._progress)
        return [written[index] for index in range(len(requests))]

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A chat as one text. lm-eval's own leaves the system message out, silently, where the template takes none.

        Raises:
            UsageError: the template does not take these turns.
        """
        try:
            text: str = self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        except TemplateError as error:
            roles = ", ".join(turn["role"] for turn in chat_history)
            raise UsageError(
                f"the tokenizer's chat template refuses the turns {roles}: {error}; set apply_chat_template: false, or "
                "leave out system_instruction or tasks whose description needs a system turn"
            ) from error
        return text

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation after its context, and whether greedy decoding would write it."""
        self._check(requests)
        answers: dict[int, tuple[float, bool]] = {}
        widths: dict[tuple[int, ...], int] = defaultdict(int)
        for request in requests:
            widths[tuple(request[1])] = max(widths[tuple(request[1])], self._length(request))
        with self._progress.track("capability", len(requests)) as advance:
            work = Pass[Group](
                what="question",
                width=lambda group: widths[tuple(requests[group[0]][1])],  # answers to one context stay together
                footprint=loss_footprint(self.model),
                run=lambda batches: self._answer(requests, batches, answers, advance),
                is_finished=lambda group: group[0] in answers,
            )
            run_batches(work, _groups(requests), self._most, self.device, self._progress)
        return [answers[index] for index in range(len(requests))]

    def _write(
        self, requests: list[Any], batches: Sequence[Sequence[int]], written: dict[int, str], advance: Advance
    ) -> None:
        for batch in batches:
            self.batch_size_per_gpu = len(batch)
            texts = super().generate_until([requests[index] for index in batch], disable_tqdm=True)
            written.update(zip(batch, texts, strict=True))
            advance(len(batch))

    def _answer(
        self,
        requests: list[Request],
        batches: Sequence[Sequence[Group]],
        answers: dict[int, tuple[float, bool]],
        advance: Advance,
    ) -> None:
        for batch in batches:
            packed: list[Group] = []
            padded: list[Group] = []
            for group in batch:
                fits = self._length(requests[group[0]]) <= self._longest_packed
                (packed if fits else padded).append(group)
            for part in self._packs(requests, packed):
                found = self._read_packed(requests, part)
                answers.update(found)
                advance(len(found))
            for part, n_logits in self._parts(requests, padded):
                self._n_logits = n_logits
                self.batch_size_per_gpu = len(part)  # lm-eval splits no further
                indices = [index for group in part for index in group]
                results = super()._loglikelihood_tokens([requests[index] for index in indices], disable_tqdm=True)
                answers.update(zip(indices, results, strict=True))
                advance(len(indices))

    def _packs(self, requests: Sequence[Request], batch: Sequence[Group]) -> Iterator[list[Group]]:
        """A batch in parts that are read at once, sequences that begin alike one behind another."""
        part: list[Group] = []
        n_tokens = n_logits = 0
        before: list[int] = []
        for tokens, group in sorted((self._tokens(requests[group[0]]), group) for group in batch):
            scored = _scored(requests, group)
            n_tokens += len(tokens) - overlap(before, tokens)
            n_logits += scored
            if part and (n_tokens > self._most_packed or n_logits * self._vocabulary > MOST_LOGITS):
                yield part
                part, n_tokens, n_logits = [], len(tokens), scored
            part.append(group)
            before = tokens
        if part:
            yield part

    def _read_packed(self, requests: Sequence[Request], part: Sequence[Group]) -> dict[int, tuple[float, bool]]:
        """What lm-eval would answer, by the request's index."""
        packed = pack([self._tokens(requests[group[0]]) for group in part], self.model)
        ends = [places[-_scored(requests, group) :] for group, places in zip(part, packed.places, strict=True)]
        wanted = sorted({place for places in ends for place in places})
        with torch.no_grad():
            keep = torch.tensor(wanted, device=self.device)
            logits = self.model(**packed.inputs, use_cache=False, logits_to_keep=keep).logits[0]
            scores = log_probabilities(logits)
        answers = {}
        for group, places in zip(part, ends, strict=True):
            rows = scores[[wanted.index(place) for place in places]]
            for index in group:
                answer = torch.tensor(requests[index][2], device=self.device)
                read = rows[-len(answer) :]
                likelihood = read.gather(1, answer[:, None]).sum()
                answers[index] = (float(likelihood), bool((read.argmax(dim=-1) == answer).all()))
        return answers

    def _tokens(self, request: Request) -> list[int]:
        """What the model reads of a request, its beginning cut off where the window is too small."""
        return (request[1] + request[2])[-self.max_length - 1 : -1]

    def _length(self, request: Request) -> int:
        """Tokens that the model reads of a request: the last one of its answer is only looked up."""
        window: int = self.max_length
        return min(len(request[1]) + len(request[2]) - 1, window)

    def _check(self, requests: Sequence[Request]) -> None:
        """Count contexts that are cut, and refuse what lm-eval would stumble over."""
        for texts, context, continuation in requests:
            if not context or not 0 < len(continuation) <= self.max_length:
                raise BenchError(
                    f"capability: a request has {len(context)} tokens of context and {len(continuation)} of answer, of "
                    f"which the first must be more than none and the second 1 to {self.max_length}, the model's "
                    f"window; the answer begins: {texts[1][:60]!r}"
                )
            self.truncated += len(context) + len(continuation) > self.max_length + 1

    def _model_call(self, inps: Tensor, attn_mask: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """Logits of the last positions of each row, (rows, positions, vocabulary): lm-eval counts from the end."""
        keep = {"logits_to_keep": self._n_logits} if self._can_keep else {}
        with torch.no_grad():
            logits: Tensor = self.model(inps, use_cache=False, **keep).logits
        return logits

    def _parts(self, requests: Sequence[Request], batch: Sequence[Group]) -> Iterator[tuple[list[Group], int]]:
        """A batch, widest first, in parts whose logits are few enough, each with how many last positions it needs."""
        part: list[Group] = []
        width = n_logits = 0
        for group in batch:
            length = self._length(requests[group[0]])
            longest = max(len(requests[index][2]) for index in group)
            needed = max(n_logits, max(width, length) - length + longest)
            # Without logits_to_keep the model computes, and holds, logits at every position.
            positions = needed if self._can_keep else max(width, length)
            if part and (len(part) + 1) * positions * self._vocabulary > MOST_LOGITS:
                yield part, n_logits
                part, width, needed = [], 0, longest
            part.append(group)
            width, n_logits = max(width, length), needed
        if part:
            yield part, n_logits


def _not_closing(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A copy that puts no special token after a text: answers go on from questions, not from an end.

    lm-eval itself would take the answer's first token for the question's closing one.

    Raises:
        BenchError: it closes texts and is none that can be changed.
    """
    opening = prompt_ids(tokenizer, [""])[0]
    if opening == tokenizer("")["input_ids"]:
        return own_settings(tokenizer)
    if not tokenizer.is_fast:
        raise BenchError(f"{type(tokenizer).__name__} closes every text; give the model's tokenizer.json in its place")
    other = copy.deepcopy(tokenizer)
    pieces = other.convert_ids_to_tokens(opening)
    other.backend_tokenizer.post_processor = TemplateProcessing(
        single=[*pieces, "$A"], special_tokens=list(dict(zip(pieces, opening, strict=True)).items())
    )
    return other


def _scored(requests: Sequence[Request], group: Group) -> int:
    """Last tokens of a sequence whose logits answer its requests."""
    return max(len(requests[index][2]) for index in group)


def _groups(requests: Sequence[Request]) -> list[Group]:
    """Requests that differ in the last token only, which lm-eval answers with one sequence."""
    groups: dict[tuple[int, ...], Group] = defaultdict(list)
    for index, (_, context, continuation) in enumerate(requests):
        groups[tuple(context + continuation[:-1])].append(index)
    return [groups[tokens] for tokens in sorted(groups)]
